"""What fits into the time: runs of measured length on some processes that work side by side."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

OVERHEAD = 5.0
"""Seconds that a process takes beside its epochs, until the first runs have shown it: imports, data, members."""
FACTORS = (0.8, 3.0)
"""Limits of how much slower epochs are beside other processes than they were measured alone."""


@dataclass(frozen=True)
class PlannedRun:
    """A run to plan.

    Attributes:
        name: of the run.
        seconds: as measured, without overhead.
        after: the run that must end before this one starts.
    """

    name: str
    seconds: float
    after: str | None = None


@dataclass(frozen=True)
class Pace:
    """How long runs really take: overhead + factor x measured seconds; and what a comparison takes around its runs.

    Attributes:
        overhead: seconds of a process beside its epochs.
        factor: seconds beside other processes over measured seconds.
        around: seconds of a comparison beside its runs.
    """

    overhead: float = OVERHEAD
    factor: float = 1.0
    around: float = 3.0

    def wall(self, runs: Sequence[PlannedRun], workers: int) -> float:
        """Return the seconds that the runs take on so many processes."""
        real = [PlannedRun(run.name, self.overhead + self.factor * run.seconds, run.after) for run in runs]
        return self.around + makespan(real, workers)

    def adjusted(self, observed: Sequence[tuple[float, float]], around: float) -> Pace:
        """Return the pace that pairs of measured and real seconds show, by least squares; the same without any.

        Args:
            observed: measured seconds of a run's epochs, and the real seconds of its process.
            around: real seconds of the comparison beside its runs.
        """
        if not observed:
            return self
        x, y = ([pair[i] for pair in observed] for i in (0, 1))
        spread = max(x) > 1.2 * min(x) and max(x) - min(x) > 1.0  # else the slope is noise
        slope = statistics.linear_regression(x, y).slope if spread else self.factor
        factor = min(max(slope, FACTORS[0]), FACTORS[1])
        overhead = max(statistics.fmean(y) - factor * statistics.fmean(x), 0.0)
        return Pace(overhead, factor, max(around, 0.5))


def makespan(runs: Sequence[PlannedRun], workers: int) -> float:
    """Return when the last of some runs ends, started in order as soon as a process is free and their teacher is finished."""
    names = {run.name for run in runs}
    ended: dict[str, float] = {}
    waiting = list(runs)
    running: list[tuple[float, str]] = []
    now = 0.0
    while waiting or running:
        for run in list(waiting):
            ready = run.after not in names or run.after in ended
            if ready and len(running) < workers:
                heapq.heappush(running, (now + run.seconds, run.name))
                waiting.remove(run)
        now, name = heapq.heappop(running)
        ended[name] = now
    return now


def largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number in [0, most] that fits, if all smaller ones do; 0 if 1 does not."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def rung_sizes(candidates: int, rungs: int) -> list[int]:
    """Return how many candidates each rung has: the better half of the one before, at least one."""
    sizes = [candidates]
    for _ in range(rungs - 1):
        sizes.append(max((sizes[-1] + 1) // 2, 1))
    return sizes


def seconds_by_run(observed: Mapping[str, float], planned: Sequence[PlannedRun]) -> list[tuple[float, float]]:
    """Pair the measured seconds of runs with the real ones of those that were trained."""
    return [(run.seconds, observed[run.name]) for run in planned if run.name in observed]
