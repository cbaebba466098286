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
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from common import Row, main, maker, random_material, row
from studygroup.allocator import kept_memory
from studygroup.methods import CGL, Baseline, Method
from studygroup.training import Settings
from studygroup.training.timed_trainer import TimedTrainer
from studygroup.training.timing import ratio

CASES = {"resnet20, 28, 64": 24, "resnet20, 28, 128": 12, "resnet8, 14, 64": 100}  # steps of a repetition
SLOWER = 1.05  # at most, where nothing was cleared
QUICK = {"resnet8, 14, 16": 2}
METHODS: dict[str, type[Method]] = {"alone": Baseline, "CGL": CGL}
Found = dict[str, tuple[float, float]]
"""The processor's seconds, and the cleared pages, of a step of each case and method."""


def steps(cases: Mapping[str, int], *, keep: bool) -> Found:
    """Run steps of all cases and methods in this process."""
    found = {}
    for case, count in cases.items():
        network, size, batch_size = case.split(", ")
        splits = random_material(10 * int(batch_size), 10, (1, int(size), int(size)))
        for name, method in METHODS.items():
            timed = TimedTrainer(name, method(), maker(network, splits), splits, Settings(batch_size=int(batch_size)))
            with kept_memory() if keep else nullcontext():
                timed.run(2)
                before = resource.getrusage(resource.RUSAGE_SELF)
                timed.run(count)
                after = resource.getrusage(resource.RUSAGE_SELF)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found[f"{case}: {name}"] = seconds / count, (after.ru_minflt - before.ru_minflt) / count
    return found


def in_a_process(cases: Mapping[str, int], *, keep: bool) -> Found:
    """Return what `steps` finds in a process of its own."""
    words = [sys.executable, __file__, "--steps", json.dumps([cases, keep])]
    out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout
    found: Found = json.loads(out.splitlines()[-1])
    return found


def measure(repeats: int, quick: bool) -> list[Row]:
    turns: dict[bool, list[Found]] = {False: [], True: []}
    for _ in range(repeats):
        for keep, found in turns.items():
            found.append(in_a_process(QUICK if quick else CASES, keep=keep))
    return [cost_row(name, *([one[name] for one in turns[keep]] for keep in (False, True))) for name in turns[True][0]]


def cost_row(name: str, without: Sequence[tuple[float, float]], kept: Sequence[tuple[float, float]]) -> Row:
    """Make a row of what the turns without and with kept memory found."""
    (seconds, pages), (kept_seconds, kept_pages) = (map(statistics.median, zip(*found, strict=True)) for found in (without, kept))
    details = f"{1000 * seconds:.1f} ms and {pages:,.0f} cleared pages, kept {1000 * kept_seconds:.1f} ms and {kept_pages:,.0f}"
    return row(name, ratio([one for one, _ in kept], [one for one, _ in without]), target=SLOWER, details=details)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--steps"]:
        given_cases, given_keep = json.loads(sys.argv[2])
        print(json.dumps(steps(given_cases, keep=given_keep)))
    else:
        main(__doc__ or "", measure, repeats=5)
