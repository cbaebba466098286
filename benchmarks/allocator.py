"""The time of a training step while freed memory stays with the process, relative to the same step as glibc has it.

`Trainer.run` keeps what a step has freed for the next step (`studygroup.allocator`). Each repetition is a process of its own with one
thread, in turn with and without; the time is the processor's, that of the system included. Left of the colon: network, size of the images,
samples per step. "Cleared" counts the pages of 4 KiB that the system cleared in a step.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

from common import Row, main, maker, random_material, row
from studygroup.allocator import kept_memory
from studygroup.methods import CGL, Baseline, Method
from studygroup.training import Settings
from studygroup.training.timed_trainer import TimedTrainer
from studygroup.training.timing import ratio

CASES = {"resnet20, 28, 64": 24, "resnet20, 28, 128": 12, "resnet8, 14, 64": 100}  # steps of a repetition
METHODS: dict[str, type[Method]] = {"alone": Baseline, "CGL": CGL}
Measured = dict[str, tuple[float, float]]


def steps_of(case: str, name: str, steps: int, *, keep: bool) -> tuple[float, float]:
    """Return the processor's seconds, and the cleared pages, of a step in this process."""
    network, size, batch_size = case.split(", ")
    splits = random_material(10 * int(batch_size), 10, (1, int(size), int(size)))
    timed = TimedTrainer(name, METHODS[name](), maker(network, splits), splits, Settings(batch_size=int(batch_size)))
    with kept_memory() if keep else nullcontext():
        timed.run(2)
        before = resource.getrusage(resource.RUSAGE_SELF)
        timed.run(steps)
        after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds / steps, (after.ru_minflt - before.ru_minflt) / steps


def in_a_process(case: str, name: str, steps: int, *, keep: bool) -> tuple[float, float]:
    """Return what `steps_of` finds in a process of its own."""
    words = [sys.executable, __file__, "--steps", json.dumps([case, name, steps, keep])]
    out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout
    seconds, pages = json.loads(out.splitlines()[-1])
    return seconds, pages


def measure(repeats: int, quick: bool) -> list[Row]:
    cases = {"resnet8, 14, 16": 2} if quick else CASES
    turns: dict[tuple[str, str, bool], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for case, steps in cases.items():
            for name in METHODS:
                for keep in (False, True):
                    turns.setdefault((case, name, keep), []).append(in_a_process(case, name, steps, keep=keep))
    return [cost_row(case, name, turns[case, name, False], turns[case, name, True]) for case in cases for name in METHODS]


def cost_row(case: str, name: str, without: list[tuple[float, float]], kept: list[tuple[float, float]]) -> Row:
    (seconds, pages), (kept_seconds, kept_pages) = (map(statistics.median, zip(*found, strict=True)) for found in (without, kept))
    details = f"{1000 * seconds:.1f} ms and {pages:,.0f} cleared pages, kept {1000 * kept_seconds:.1f} ms and {kept_pages:,.0f}"
    return row(f"{case}: {name}", ratio([one for one, _ in kept], [one for one, _ in without]), target=1.0, details=details)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--steps"]:
        given: list[Any] = json.loads(sys.argv[2])
        print(json.dumps(steps_of(*given[:3], keep=given[3])))
    else:
        main(__doc__ or "", measure, repeats=5)
