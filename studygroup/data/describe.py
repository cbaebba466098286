"""A description of a run's data in a few lines, and what looks like a fault in it.

    digits: images of 10 classes (training samples): 0 128, 1 131, ...
    splits: 1,294 training, 144 hold-out (split off the training samples, seed 0), 359 test (split off, seed 0)
    images: 1x8x8

<cache>/copies/<name>-<key>/copies.json     equal samples, which are looked for once
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.entries import cache_dir, cached, digest
from studygroup.data.dataset import Dataset, Split
from studygroup.data.inputs import Images, Tokens
from studygroup.data.source import cache_folder
from studygroup.data.texts.ragged import Ragged
from studygroup.escape import shortened

FEW = 10
"""Number of training samples below which a class is warned of."""
IMBALANCE = 10
"""Ratio of the largest to the smallest class above which it is warned of."""
NAMED, RARE = 12, 3
"""Number of classes up to which all are named, and number of classes that a warning names."""
MAX_BYTES = 4 * 10**9
"""Size of the prepared samples up to which equal ones are looked for."""
FILE = "copies.json"


@dataclass(frozen=True)
class Copies:
    """Samples that are equal to others once they are prepared.

    Attributes:
        test: number of test samples that are training or hold-out samples, too.
        test_example: names of such a test sample and of its copy; empty if there is none.
        holdout: number of hold-out samples that are training samples, too.
        holdout_example: the same of the hold-out.
        labels: number of training and hold-out samples of which another one is of another class.
        labels_example: name and class of one and of the other.
    """

    test: int = 0
    test_example: Sequence[str] = ()
    holdout: int = 0
    holdout_example: Sequence[str] = ()
    labels: int = 0
    labels_example: Sequence[str] = ()


@dataclass(frozen=True)
class Description:
    """What a run learns from.

    Attributes:
        data: name of the data set.
        kind: `images` or `texts`.
        classes: number of training samples by class.
        samples: number of samples by split: `training`, `hold-out`, `test` and `unused`.
        origins: where hold-out and test set come from, by split.
        inputs: sizes of the images, or lengths of the texts, and what they become.
        copies: equal samples; None if there are too many to look for them.
    """

    data: str
    kind: str
    classes: dict[str, int]
    samples: dict[str, int]
    origins: dict[str, str]
    inputs: dict[str, Any]
    copies: Copies | None

    def plain(self) -> dict[str, Any]:
        """Return everything in JSON's types."""
        return {**asdict(self), "warnings": self.warnings()}

    def lines(self) -> list[str]:
        """Return three lines: the classes, the splits, and the inputs."""
        return [self._classes_line(), self._splits_line(), self._inputs_line()]

    def _classes_line(self) -> str:
        counts, start = self.classes, f"{self.data}: {self.kind} of {len(self.classes)} classes (training samples)"
        if len(counts) <= NAMED:
            return f"{start}: {', '.join(f'{shortened(name)} {count:,}' for name, count in counts.items())}"
        fewest, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        return f"{start}: from {counts[fewest]:,} ({shortened(fewest)}) to {counts[most]:,} ({shortened(most)})"

    def _splits_line(self) -> str:
        shown = []
        for split, count in self.samples.items():
            origin = self.origins.get(split)
            if count or split != "unused":
                shown.append(f"{count:,} {split}" + (f" ({origin})" if origin and count else ""))
        return f"splits: {', '.join(shown)}"

    def _inputs_line(self) -> str:
        inputs = self.inputs
        if self.kind == "images":
            shape = "x".join(map(str, inputs["shape"]))
            if "original_sizes" not in inputs:
                return f"images: {shape}"
            smallest, middle, largest = ("x".join(map(str, size)) for size in inputs["original_sizes"])
            were = middle if smallest == largest else f"{smallest} to {largest} (median {middle})"
            return f"images: {shape}, from files of {were} pixels, of which the centre is taken and resized"
        shortest, middle, longest = inputs["lengths"]
        line = f"texts: {shortest:,} to {longest:,} tokens (median {middle:,}), {inputs['vocabulary']:,} different ones"
        if inputs["at_limit"]:
            line += f"; {inputs['at_limit']:.1%} reach {inputs['max_length']:,} (--max-length), where longer ones are cut"
        return line

    def warnings(self) -> list[str]:
        """Return what looks like a fault, a line each with the remedy."""
        return [*self._class_warnings(), *self._copy_warnings()]

    def _class_warnings(self) -> Iterator[str]:
        counts = self.classes
        by_count = sorted(counts, key=counts.__getitem__)
        if few := [name for name in by_count if counts[name] < FEW]:
            named = ", ".join(f"{shortened(name)} {counts[name]}" for name in few[:RARE]) + (", …" if len(few) > RARE else "")
            number = f"{len(few)} of {len(counts)} classes have" if len(few) > 1 else "a class has"
            yield f"{number} fewer than {FEW} training samples ({named}): collect more, or merge or remove such classes"
        smallest, largest = by_count[0], by_count[-1]
        if counts[largest] > IMBALANCE * max(counts[smallest], 1):
            yield (
                f"the classes are unequal: {shortened(largest)} has {counts[largest]:,} training samples, {shortened(smallest)} "
                f"{counts[smallest]:,}. Accuracy says little about small classes; look at macro F1, and try --class-weights balanced"
            )

    def _copy_warnings(self) -> Iterator[str]:
        copies = self.copies or Copies()
        noun = self.kind
        if copies.test:
            own, other = map(shortened, copies.test_example)
            yield (
                f"{copies.test:,} of {self.samples['test']:,} test {noun} are among the training or hold-out {noun}, too (such as {own}, "
                f"equal to {other}): test accuracy is too high; remove the copies"
            )
        if copies.holdout:
            own, other = map(shortened, copies.holdout_example)
            yield (
                f"{copies.holdout:,} of {self.samples['hold-out']:,} hold-out {noun} are among the training {noun}, too (such as {own}, "
                f"equal to {other}): they select badly; remove the copies"
            )
        if copies.labels:
            first, its, second, other = map(shortened, copies.labels_example)
            yield (
                f"{copies.labels:,} training or hold-out {noun} are equal to ones of another class (such as {first}, {its}, and {second}, "
                f"{other}): one of the labels is wrong, or the classes overlap; correct or remove them"
            )


def describe(dataset: Dataset, *, split_seed: int = 0, cache: str | Path | None = None) -> Description:
    """Describe a data set as it is divided for a run.

    Args:
        dataset: the data set.
        split_seed: seed of its division.
        cache: folder of the cache, where equal samples are kept.

    Raises:
        UserError: the cache cannot be written.
    """
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()
    split_off = f"split off the training samples by class, seed {split_seed}"
    own = {"hold-out": "val", "test": "test"}
    return Description(
        data=dataset.name,
        kind=f"{dataset.inputs.noun}s",
        classes=dict(zip(dataset.classes, counts, strict=True)),
        samples={
            "training": len(dataset.train),
            "hold-out": len(dataset.holdout),
            "test": len(dataset.test),
            "unused": len(dataset.unused),
        },
        origins={split: "the data's own" if name in dataset.own else split_off for split, name in own.items()},
        inputs=describe_inputs(dataset),
        copies=find_copies(dataset, cache),
    )


def describe_inputs(dataset: Dataset) -> dict[str, Any]:
    """Return `shape` and perhaps `original_sizes` of images; `lengths`, `max_length`, `at_limit` and `vocabulary` of texts."""
    if isinstance(dataset.inputs, Images):
        shape: dict[str, Any] = {"shape": list(dataset.inputs.shape)}
        if not dataset.original_sizes:
            return shape
        sizes = sorted(dataset.original_sizes, key=lambda size: (size[0] * size[1], size))
        return shape | {"original_sizes": [list(size) for size in (sizes[0], sizes[len(sizes) // 2], sizes[-1])]}
    assert isinstance(dataset.inputs, Tokens)
    assert dataset.train.lengths is not None
    lengths = np.sort(dataset.train.lengths)
    return {
        "lengths": [int(lengths[0]), int(lengths[len(lengths) // 2]), int(lengths[-1])],
        "max_length": dataset.inputs.max_length,
        "at_limit": float((lengths >= dataset.inputs.max_length).mean()),
        "vocabulary": dataset.inputs.tokenizer.vocabulary,
    }


def find_copies(dataset: Dataset, cache: str | Path | None = None) -> Copies | None:
    """Find equal samples, or read from the cache what was found; None if the data is larger than `MAX_BYTES`."""
    splits = (dataset.train, dataset.holdout, dataset.test)
    if sum(map(_size, splits)) > MAX_BYTES:
        return None
    folder = cache_folder(cache)
    home = cache_dir(folder, "copies", dataset.name, digest(1, dataset.key, *(split.positions.tobytes() for split in splits)))

    def write(unfinished: Path) -> None:
        found = compare_samples(*splits, dataset.classes)
        (unfinished / FILE).write_text(json.dumps(asdict(found)), encoding="utf-8")

    return cached(home, folder, partial(_read, home / FILE), write)


def _read(path: Path) -> Copies | None:
    try:
        return Copies(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def compare_samples(train: Split, holdout: Split, test: Split, classes: Sequence[str]) -> Copies:
    """Find samples that are equal once they are prepared, by their hashes."""
    hashes = {id(split): hash_samples(split) for split in (train, holdout, test)}
    known = np.concatenate([hashes[id(train)], hashes[id(holdout)]])
    labels = np.concatenate([train.labels, holdout.labels])

    def name(position: int) -> str:
        split, row = (train, position) if position < len(train) else (holdout, position - len(train))
        return split.take(np.array([row])).sample_names()[0]

    def among(split: Split, others: NDArray[np.uint64]) -> tuple[int, Sequence[str]]:
        found = np.flatnonzero(np.isin(hashes[id(split)], others))
        if not len(found):
            return 0, ()
        copy = int(np.flatnonzero(others == hashes[id(split)][found[0]])[0])
        return len(found), (split.take(found[:1]).sample_names()[0], name(copy))

    _, group = np.unique(known, return_inverse=True)  # number of each distinct sample
    lowest, highest = np.full(group.max(initial=0) + 1, len(classes)), np.full(group.max(initial=0) + 1, -1)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    mixed = np.flatnonzero(lowest[group] != highest[group])
    example: tuple[str, ...] = ()
    if len(mixed):
        first = int(mixed[0])
        second = int(np.flatnonzero((group == group[first]) & (labels != labels[first]))[0])
        example = name(first), classes[labels[first]], name(second), classes[labels[second]]
    return Copies(*among(test, known), *among(holdout, hashes[id(train)]), len(mixed), example)


def count_copies(split: Split, others: Split) -> int:
    """Return how many samples of a split are equal to one of the others once they are prepared; 0 if they are larger than `MAX_BYTES`."""
    if _size(split) + _size(others) > MAX_BYTES:
        return 0
    return int(np.isin(hash_samples(split), hash_samples(others)).sum())


def hash_samples(split: Split) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each prepared sample (N,): of the pixels or of the tokens that a network gets."""
    return np.array([int.from_bytes(hashlib.blake2b(content, digest_size=8).digest()) for content in _contents(split)], dtype=np.uint64)


def _contents(split: Split) -> Iterator[bytes]:
    rows = split.positions.tolist()
    if isinstance(split.inputs, Ragged):
        stops = split.inputs.ends[split.positions].tolist()
        lengths = split.inputs.lengths[split.positions].tolist()
        return (split.inputs.tokens[stop - length : stop].tobytes() for stop, length in zip(stops, lengths, strict=True))
    return (split.inputs[row].tobytes() for row in rows)


def _size(split: Split) -> int:
    """Return the size of the prepared samples in bytes."""
    if isinstance(split.inputs, Ragged):
        return int(split.inputs.lengths[split.positions].sum()) * split.inputs.tokens.itemsize
    return len(split) * int(np.prod(split.inputs.shape[1:])) * int(split.inputs.itemsize)
