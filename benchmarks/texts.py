"""Texts: preparing millions of reviews, opening them again, and reading them for an epoch: seconds, memory and padding.

The reviews are synthetic: words by Zipf's law, about a hundred words per review, lengths as long-tailed as those of real reviews, five
classes. They are written to a table (CSV), which is not timed. One process reads the table and stores it row by row, takes a fifth of it as
the test set, learns a vocabulary of 16,000 tokens from a sample of the rest, and tokenises everything. Another process opens the data set
as `studygroup train` does, and reads it in batches of 64 for an epoch, without a network. Memory is the peak resident memory of each
process, including its libraries and the pages of files that it reads. Written files stay in the page cache of the system as far as it has
room.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import studygroup
from common import Row, exact, main, row
from studygroup.data import Batches, open_dataset
from studygroup.data.dataset import divide
from studygroup.data.source import Row as Review
from studygroup.data.texts.prepare import TextPreparation
from studygroup.data.texts.table import Table
from studygroup.data.texts.tokenizers import VOCABULARY
from studygroup.data.texts.tokens import tokenize, trained_tokenizer
from studygroup.options import DataOptions
from studygroup.training.timing import quartiles

REVIEWS = 2_900_000
BATCH = 64
MAX_LENGTH = 512
MIB = 2.0**20
TEST_SHARE = 0.2
COLUMNS = ("text", "label")
LIMIT = 2048.0  # MiB
PADDED = 10.0  # %
CHILD = "import json, sys, texts; print(json.dumps(texts.{0}(*sys.argv[1:])))"


def made_up_reviews(count: int) -> Iterator[Review]:
    """Reviews that are made up as they are read, the same ones each time."""
    random = np.random.default_rng(0)
    sentences = made_up_sentences(random)
    for start in range(0, count, 1000):
        lengths = np.exp(random.normal(1.9, 0.8, min(1000, count - start))).astype(np.int64) + 1  # sentences
        drawn = random.integers(0, len(sentences), lengths.sum()).tolist()
        stars = random.integers(1, 6, len(lengths)).tolist()
        low = 0
        for length, star in zip(lengths.tolist(), stars, strict=True):
            yield " ".join([sentences[i] for i in drawn[low : low + length]]), str(star)
            low += length


def made_up_sentences(random: np.random.Generator, count: int = 50_000, words: int = 200_000) -> list[str]:
    """Sentences of 3 to 20 words; the words are by Zipf's law, frequent ones short."""
    syllables = np.array([consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiouy"])
    sizes = 1 + np.minimum(np.log10(np.arange(1, words + 1)).astype(np.int64), 4)
    drawn = iter(syllables[random.integers(0, len(syllables), sizes.sum())].tolist())
    known = ["".join(next(drawn) for _ in range(size)) for size in sizes.tolist()]
    chances = np.cumsum(1 / np.arange(1, words + 1))
    lengths = random.integers(3, 21, count)
    picked = np.searchsorted(chances, random.random(lengths.sum()) * chances[-1]).tolist()
    starts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    return [" ".join(known[i] for i in picked[low:high]).capitalize() + "." for low, high in pairwise(starts)]


def write_table(path: Path, count: int) -> None:
    """Reviews as a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(made_up_reviews(count))


# ---------------------------------------------------------------- in a process of its own


def prepare(cache: str, table: str) -> dict[str, float]:
    """Everything that is done the first time."""
    found = {}
    options = DataOptions(table, text_columns=COLUMNS[:1], label_column=COLUMNS[1], cache=cache, progress=False)
    start = time.perf_counter()
    texts = TextPreparation(Table(Path(table), options), options).prepare()
    found["store"] = time.perf_counter() - start
    start = time.perf_counter()
    train, _ = divide(texts.splits["train"].labels, TEST_SHARE, 0)
    tokenizer = trained_tokenizer(texts, train, "bpe", Path(cache), vocabulary=VOCABULARY)
    found["vocabulary"] = time.perf_counter() - start
    start = time.perf_counter()
    tokens = tokenize(texts, tokenizer, Path(cache), MAX_LENGTH, progress=False)["train"]
    found["tokenize"] = time.perf_counter() - start
    sizes = texts.splits["train"].sizes
    return found | {"bytes": float(sizes.sum()), "tokens": float(tokens.lengths.sum()), "size": tokenizer.vocabulary, "peak": peak()}


def read(cache: str, table: str) -> dict[str, float]:
    """Everything that is done from then on."""
    start = time.perf_counter()
    columns: dict[str, Any] = {"text_columns": COLUMNS[:1], "label_column": COLUMNS[1]}
    dataset = open_dataset(table, **columns, tokenizer="bpe", max_length=MAX_LENGTH, test_size=TEST_SHARE, cache=cache, progress=False)
    found = {"open": time.perf_counter() - start, "peak of opening": peak()}
    start = time.perf_counter()
    batches = Batches(dataset.train, dataset.inputs.transform(), batch_size=BATCH)
    positions = sum(batch.inputs.numel() for batch in batches.epoch(0))
    found["epoch"] = time.perf_counter() - start
    lengths = dataset.train.lengths
    assert lengths is not None
    widths = lengths[np.random.default_rng(0).permutation(len(lengths))[: len(lengths) // BATCH * BATCH]].reshape(-1, BATCH)
    at_random = 100 * (1 - widths.sum() / (widths.max(axis=1).sum() * BATCH))
    padded = 100 * (1 - lengths[batches.student_positions(0)[0][: batches.samples_per_epoch[0]]].sum() / positions)
    found |= {"read": len(lengths), "steps": batches.steps(), "padded": padded, "padded at random": float(at_random)}
    return found | {"peak": peak()}


def peak() -> float:
    """Bytes that this process had resident at its highest."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def child(name: str, cache: str, table: str) -> dict[str, float]:
    """Return the result of one of the functions above, run in a process of its own."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(studygroup.__file__).parents[1])])
    words = [sys.executable, "-c", CHILD.format(name), cache, table]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    result: dict[str, float] = json.loads(done.stdout)
    return result


# ---------------------------------------------------------------- the table


def measure(repeats: int, quick: bool, reviews: int = REVIEWS) -> list[Row]:
    count = 2000 if quick else reviews
    first: list[dict[str, float]] = []
    later: list[dict[str, float]] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            table = str(Path(cache, "reviews.csv"))
            write_table(Path(table), count)
            first.append(child("prepare", cache, table))
            later.append(child("read", cache, table))
    one, other = first[0], later[0]

    def seconds(name: str, results: list[dict[str, float]], **more: Any) -> Row:
        figures = {"seconds": [result[name] for result in results]}
        return row(f"{count:,} reviews: {name}", quartiles(figures["seconds"]), unit="s", figures=figures, **more)

    def memory(name: str, results: list[dict[str, float]], **more: Any) -> Row:
        return row(f"{count:,} reviews: {name}", quartiles([result["peak"] / MIB for result in results]), unit="MiB", target=LIMIT, **more)

    return [
        seconds("store", first, details=f"{one['bytes'] / 1e6:,.0f} MB of text"),
        seconds("vocabulary", first, details=f"{one['size']:,.0f} tokens"),
        seconds("tokenize", first, details=f"{one['tokens'] / 1e6:,.1f} million tokens, {count / one['tokenize']:,.0f} reviews/s"),
        memory("peak memory of preparing", first),
        seconds("open", later, details=f"{other['peak of opening'] / MIB:,.0f} MiB resident then"),
        seconds("epoch", later, details=f"{other['steps']:,.0f} batches of {BATCH}, {other['read'] / other['epoch']:,.0f} reviews/s"),
        memory("peak memory of opening and reading", later),
        exact(
            "padded positions of an epoch",
            other["padded"],
            "%",
            target=PADDED,
            details=f"{other['padded at random']:.0f}% in random batches",
            figures={"at random": other["padded at random"]},
        ),
    ]


if __name__ == "__main__":
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--reviews", type=int, default=REVIEWS, help=f"how many (default: {REVIEWS:,})")
    main(__doc__, measure, repeats=1, options=options)
