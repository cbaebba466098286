"""Spearman's rank correlation, and its interval."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from studygroup.analysis.ranks import rank_correlation, ranks
from studygroup.errors import UserError

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=15)


@given(PAIRS)
def test_ranks_and_correlation_against_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    assume(len(set(x)) > 1)
    assume(len(set(y)) > 1)
    assert ranks(x) == stats.rankdata(x).tolist()
    rho, low, high = rank_correlation(x, y)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert -1.0 <= low <= rho <= high <= 1.0
    assert rank_correlation(y, x) == pytest.approx((rho, low, high))
    assert rank_correlation(x, [-value for value in y]) == pytest.approx((-rho, -high, -low))


def test_the_interval_of_eight_structures_by_hand() -> None:
    x, y = [1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 6, 5, 8, 7]
    rho, low, high = rank_correlation(x, y)
    assert rho == pytest.approx(1 - 6 * 8 / (8 * 63))
    reach = 1.959964 * math.sqrt((1 + rho**2 / 2) / 5)
    assert (math.atanh(low), math.atanh(high)) == pytest.approx((math.atanh(rho) - reach, math.atanh(rho) + reach))
    assert rank_correlation(x, y, 0.5)[1] > low


def test_perfect_agreement_is_no_certainty() -> None:
    rho, low, high = rank_correlation([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])
    assert [rho, high] == [pytest.approx(1.0), 1.0]
    assert -1 < low < 0.9, "five pairs that agree do not prove a correlation of 1"
    assert rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == pytest.approx((-1.0, -1.0, -low))
    assert rank_correlation([1, 2, 3], [1, 2, 3]) == pytest.approx((1.0, -1.0, 1.0)), "three pairs say nothing"


@pytest.mark.parametrize(("n", "r"), [(8, 0.0), (8, 0.6), (30, 0.6)])
def test_the_interval_holds_the_true_value_as_often_as_it_says(n: int, r: float) -> None:
    drawn = random.Random(0)
    true, hits, count = 6 / math.pi * math.asin(r / 2), 0, 1000
    for _ in range(count):
        x = [drawn.gauss(0, 1) for _ in range(n)]
        y = [r * a + math.sqrt(1 - r * r) * drawn.gauss(0, 1) for a in x]
        _, low, high = rank_correlation(x, y)
        hits += low <= true <= high
    assert 0.93 < hits / count < 0.985


@pytest.mark.parametrize(
    ("x", "y", "confidence", "message"),
    [
        ([1, 2], [1], 0.95, "x has 2 values, y 1"),
        ([1], [1], 0.95, "at least 2"),
        ([], [], 0.95, "x has 0 values"),
        ([1, 1, 1], [1, 2, 3], 0.95, "all 3 values of x are 1: they have no order"),
        ([1, 2, 3], [5, 5, 5], 0.95, "all 3 values of y are 5"),
        ([1, math.nan, 3], [1, 2, 3], 0.95, "x has the value nan"),
        ([1, 2, 3], [1, 2, math.inf], 0.95, "y has the value inf"),
        ([1, 2, 3], [1, 2, 3], 1.0, "confidence is 1; it must be above 0 and below 1"),
    ],
)
def test_what_has_no_rank_correlation(x: list[float], y: list[float], confidence: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rank_correlation(x, y, confidence)


def test_ranks_of_equal_values_are_their_mean() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert statistics.fmean(ranks([5.0] * 4)) == 2.5
