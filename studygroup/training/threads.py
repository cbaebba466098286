"""The number of CPU threads of a training: measured at its start, and watched.

Threads of one operation wait for each other by spinning. While other programs have the cores, a step with two threads can take sixty times
as long as with one (LOG.md), and on a free machine two threads gain small networks little.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable

import torch

GAIN = 1.1
"""More threads are taken if a step is faster by this factor."""
REPEATS = 3
TOO_LONG = 1.0
"""Seconds of a step from which one repetition is enough."""
SLOWER = 4.0
"""Factor on the measured seconds at which the others are assumed to have the cores."""
WINDOW = 10


def fastest_threads(step: Callable[[], object], most: int) -> tuple[int, float]:
    """Find the number of threads with which a step is fastest, and set it.

    One, two, four, ... threads are tried as long as each gains at least a tenth.

    Args:
        step: does the work of a step.
        most: the largest number to try.

    Returns:
        The number, and the median of the seconds of a step with it.
    """
    best = 1, _seconds(step, 1, None)
    count = 1
    while count < most:
        count = min(2 * count, most)
        seconds = _seconds(step, count, best[1])
        if seconds * GAIN > best[1]:
            break
        best = count, seconds
    torch.set_num_threads(best[0])
    return best


def _seconds(step: Callable[[], object], threads: int, known: float | None) -> float:
    """Return the median seconds of a step; the first step is a warm-up, which is enough if it is much slower than `known`."""
    torch.set_num_threads(threads)
    found: list[float] = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
        if found[0] > TOO_LONG or (known is not None and found[0] > SLOWER * known):
            return found[0]
    return statistics.median(found[1:])


class Pace:
    """Watch over the speed of the steps: if they become much slower than measured, one thread is used from then on.

    Args:
        seconds: measured seconds of a step, per number in its inputs; None to watch nothing.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.expected = seconds
        self.recent: deque[float] = deque(maxlen=WINDOW)

    def step(self, seconds: float, size: int) -> None:
        """Note a step.

        Args:
            seconds: that it took.
            size: numbers in its inputs.
        """
        if self.expected is None or torch.get_num_threads() == 1:
            return
        self.recent.append(seconds / size / self.expected)
        if len(self.recent) == WINDOW and (slower := statistics.median(self.recent)) > SLOWER:
            warnings.warn(
                f"steps take {slower:.0f} times as long as at the start of the training, so other programs have the cores; going on with "
                f"1 thread instead of {torch.get_num_threads()}. Give --threads to choose the number",
                stacklevel=2,
            )
            torch.set_num_threads(1)
