"""Student's t against scipy's."""

from __future__ import annotations

import statistics

import pytest
import scipy.special
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from studygroup.reporting.student_t import interval, quantile, within


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 7, 10, 29, 30, 99, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_quantiles(freedom: int, confidence: float) -> None:
    assert quantile(confidence, freedom) == pytest.approx(scipy.stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-9)


@given(t=st.floats(0, 50), freedom=st.integers(1, 60))
@example(t=2.691180379829895e-09, freedom=1)  # where scipy's `t.sf` is 1/2, and so 1.7e-9 off
def test_probabilities(t: float, freedom: int) -> None:
    expected = scipy.special.betainc(0.5, freedom / 2, t * t / (freedom + t * t))
    assert within(t, freedom) == pytest.approx(expected, abs=1e-12)


@given(values=st.lists(st.floats(-1, 1), min_size=2, max_size=12))
def test_intervals(values: list[float]) -> None:
    scale = statistics.stdev(values) / len(values) ** 0.5
    if scale > 1e-12:
        expected = scipy.stats.t.interval(0.95, len(values) - 1, loc=statistics.fmean(values), scale=scale)
        assert interval(values) == pytest.approx(expected, abs=1e-9)


def test_fewer_than_two_values_have_no_interval() -> None:
    assert interval([]) is None
    assert interval([0.1]) is None
    assert interval([0.1, 0.1]) == (0.1, 0.1)
