"""Memory and file descriptors are flat over ten thousand steps of training and of predicting."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from tests.campaign.process import Case, Child, Verdict, command
from tests.campaign.world import World

STEPS = 10_000
MOST_GROWTH = 24 * 2**20
"""Bytes between the second and the last tenth: 2.5 kB a step would be noticed."""


def cases(world: World) -> Iterator[Case]:
    """Yield a training and a stream of predictions."""
    yield Case("train", partial(watched, "training", train(world)), seconds=1700)
    yield Case("predict", partial(watched, "predicting", predict(world)), seconds=1700)


def train(world: World) -> Callable[[], int]:
    """Return a training of 50 epochs of 200 steps."""
    words = ["train", "digits", "--student", "resnet8", "--epochs", str(STEPS // 200), "--train-size", "800", "--batch-size", "4"]
    words += ["--holdout", "20", "--preset", "none", "--precision", "float32", "--threads", "1", "--no-progress", "--no-linear-model"]
    return command([*words, "--method", "baseline", "--augment", "none", "--out", "run", "--cache", str(world.cache)])


def predict(world: World) -> Callable[[], int]:
    """Return ten thousand predictions of one image each."""

    def run() -> int:
        import numpy as np

        import studygroup

        best = studygroup.Run(world.run).best
        image = np.zeros((1, 8, 8, 1), np.uint8)
        for _ in range(STEPS):
            best.predict(image)
        return 0

    return run


def watched(what: str, action: Callable[[], int]) -> Verdict:
    """Run something and look at its memory and descriptors as it goes."""
    child = Child(action, Path.cwd())
    samples: list[tuple[int, int]] = []
    while child.poll() is None:
        try:
            pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
            samples.append((pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{child.pid}/fd"))))
        except (OSError, IndexError):
            continue
        time.sleep(0.05)
    if child.status != 0:
        return Verdict(0, (f"{what} ended with {child.status}: {child.text()[-300:]}",))
    tenth = max(len(samples) // 10, 1)
    early, late = samples[2 * tenth : 3 * tenth], samples[-2 * tenth : -tenth] or samples[-1:]
    growth = median(memory for memory, _ in late) - median(memory for memory, _ in early)
    files = median(count for _, count in late) - median(count for _, count in early)
    defects = [f"{what}: {growth / 2**20:.1f} MB more after {STEPS} steps"] if growth > MOST_GROWTH else []
    return Verdict(STEPS, tuple(defects + ([f"{what}: {files} more file descriptors"] if files > 0 else [])))
