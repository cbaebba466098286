"""Accuracy of `transformer` on a table by its vocabulary, epochs and learning rate: one run after the other, one thread.

    OMP_NUM_THREADS=1 python studies/text_defaults.py names.csv 4000 2000 64 label 3 "v400-e10:vocabulary=400;epochs=10" ...

Arguments: the table, the number of training texts, the number of unused training texts to score on, the maximum length, the label column,
the number of seeds, and variants NAME:OPTION=VALUE;OPTION=VALUE. 500 texts are held out; the test set is not used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

import studygroup
from studygroup import config
from studygroup.sweep.unused import score_unused


def measure(variant: str, seeds: int, unused: int, options: dict[str, Any]) -> str:
    """Train a variant with several seeds, and return its line of results."""
    name, _, given = variant.partition(":")
    own = {key: config.scalar(value) for key, value in (pair.split("=", 1) for pair in given.split(";") if pair)}
    scores, held_out, seconds = [], [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            run = studygroup.train(**{**options, **own}, method="baseline", holdout=500, seed=seed, out=f"{folder}/run", progress=False)
            score_unused(run, unused)
            scores.append(json.loads(run.files.unused_scores.read_text())["accuracy"]["best"])
            held_out.append(run.result["selected"]["holdout"])
            seconds.append(run.result["seconds"])
    deviation = f" ± {100 * statistics.stdev(scores):.2f}" if seeds > 1 else ""
    return (
        f"{name}: unused {100 * statistics.fmean(scores):.2f}{deviation}, hold-out {100 * statistics.fmean(held_out):.2f}, "
        f"{run.result['parameters']['student0']:,} parameters, {statistics.fmean(seconds):.0f} s per run"
    )


def main() -> None:
    """Measure the variants of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    for name in ("train_size", "unused", "max_length"):
        parser.add_argument(name, type=int)
    parser.add_argument("label_column")
    parser.add_argument("seeds", type=int)
    parser.add_argument("variants", nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = {"data": given.table, "text_columns": ("text",), "label_column": given.label_column}
    options |= {"train_size": given.train_size, "max_length": given.max_length}
    for variant in given.variants:
        print(f"{given.table.stem} {measure(variant, given.seeds, given.unused, options)}", flush=True)


if __name__ == "__main__":
    main()
