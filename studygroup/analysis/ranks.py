"""Rank correlation with a confidence interval: does what is better on one data set do better on another, too (CGL, Table 7)?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, correlation

from studygroup.errors import UserError


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value from 1, the smallest; equal values share the mean of their ranks.

    Example:
        >>> from studygroup.analysis import ranks
        >>> ranks.ranks([0.9, 0.5, 0.9])
        [2.5, 1.0, 2.5]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            found[place] = (start + 1 + end) / 2
        start = end
    return found


def rank_correlation(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return Spearman's rank correlation of pairs of values, and its confidence interval.

    The interval is Fisher's, atanh(rho) +- z sqrt((1 + rho^2 / 2) / (n - 3)), with the variance of Bonett and Wright (Psychometrika 65,
    2000). For pairs from bivariate normal distributions it holds the true value about as often as it says, also for n = 8 pairs
    (docs/analysis.md). Two cases in which the formula has no answer: fewer than 4 pairs say nothing, so the interval is [-1, 1]; and
    where all ranks agree (or are reversed), it is computed at the next |rho| that n ranks without ties can have, and reaches to the end.

    Args:
        x: n >= 2 values.
        y: as many values; the pairs must be independent of each other.
        confidence: of the interval, in (0, 1).

    Returns:
        rho, and the lower and the upper end, all in [-1, 1].

    Raises:
        UserError: the values are not n finite pairs, or all of x or of y are equal.

    Example:
        >>> from studygroup.analysis import ranks
        >>> rho, low, high = ranks.rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 5, 4])
        >>> round(rho, 2), round(low, 2), round(high, 2)
        (0.9, -0.17, 1.0)
    """
    if len(x) != len(y) or len(x) < 2:
        raise UserError(f"x has {len(x)} values, y {len(y)}; a rank correlation needs as many of each, and at least 2")
    if not 0 < confidence < 1:
        raise UserError(f"confidence is {confidence:g}; it must be above 0 and below 1")
    for name, values in (("x", x), ("y", y)):
        if wrong := [value for value in values if not math.isfinite(value)]:
            raise UserError(f"{name} has the value {wrong[0]}; a rank correlation needs finite numbers")
        if len(set(values)) == 1:
            raise UserError(f"all {len(values)} values of {name} are {values[0]:g}: they have no order, and so no rank correlation")
    rho, n = correlation(ranks(x), ranks(y)), len(x)
    if n < 4:
        return rho, -1.0, 1.0
    largest = 1 - 12 / (n**3 - n)  # after 1: two neighbours are exchanged
    at = max(-largest, min(rho, largest))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((1 + at * at / 2) / (n - 3))
    low, high = math.tanh(math.atanh(at) - reach), math.tanh(math.atanh(at) + reach)
    return rho, -1.0 if rho < -largest else low, 1.0 if rho > largest else high
