"""Learning rate schedules and loss ramps: pure functions of the number of epochs done."""

from __future__ import annotations

import math
from collections.abc import Sequence


def milestones(epoch: int, at: Sequence[int], gamma: float) -> float:
    """Return `gamma` to the power of the number of milestones that `epoch` (0-based) has reached."""
    return float(gamma ** sum(milestone <= epoch for milestone in at))


def cosine(progress: float, epochs: float) -> float:
    """Return the cosine decay from 1 at the start to 0 at `epochs`, and 0 after that; `progress` is in epochs."""
    return 0.5 * (1.0 + math.cos(math.pi * min(progress / epochs, 1.0)))


def warmup(progress: float, epochs: float) -> float:
    """Return the linear warm-up from 0 to 1 over the first `epochs` epochs; 1 throughout if `epochs` is 0."""
    return min(progress / epochs, 1.0) if epochs > 0 else 1.0


def ramp(epoch: float, start: float, end: float) -> float:
    """Return CGL's ramp-up coefficient phi(t) (Feng et al., AAAI 2021, Eq. 7, after Laine and Aila 2017), in (0, 1].

    exp(-5 (1 - lambda)^2) with lambda = (t - start) / (end - start) inside [start, end], and 1 outside: before
    `start`, too, as in the paper. 1 throughout if the range is empty.
    """
    if end <= start or not start <= epoch <= end:
        return 1.0
    done = (epoch - start) / (end - start)
    return math.exp(-5.0 * (1.0 - done) ** 2)
