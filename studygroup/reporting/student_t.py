"""Student's t distribution: confidence intervals of the mean of a few values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def within(t: float, freedom: int) -> float:
    """Return the probability that a t-distributed value is in [-t, t] (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Args:
        t: at least 0.
        freedom: degrees of freedom, an integer of at least 1.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):  # each term follows from the previous one
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def quantile(confidence: float, freedom: int) -> float:
    """Return the t for which `within(t, freedom)` is the confidence, in (0, 1)."""
    low, high = 0.0, math.pi / 2  # bisection over the angle, which is bounded where t is not
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if within(math.sqrt(freedom) * math.tan(middle), freedom) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the confidence interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    reach = quantile(confidence, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - reach, mean + reach
