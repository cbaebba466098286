"""Scales, ticks and curves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studygroup.pages.plots import MOST, curves, path, thinned
from studygroup.pages.scales import Scale, padded
from studygroup.pages.tables import strip, wilson

NUMBERS = st.floats(-1e6, 1e6)


@given(NUMBERS, st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_few_round_and_inside(low: float, span: float, wanted: int) -> None:
    scale = Scale(low, low + span, 0.0, 100.0)
    ticks = scale.ticks(wanted)
    assert 1 <= len(ticks) <= wanted + 1
    assert all(-0.2 <= tick.at <= 100.2 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)


@given(st.floats(1e-6, 1e6), st.floats(1.2, 1e6))
def test_logarithmic_ticks_are_inside(low: float, factor: float) -> None:
    ticks = Scale(low, low * factor, 0.0, 100.0, log=True).ticks(4, "{:.6g}".format)
    assert len(ticks) <= 10
    assert all(-0.2 <= tick.at <= 100.2 for tick in ticks)


def test_ticks_of_epochs_are_whole() -> None:
    assert [tick.label for tick in Scale(1, 12, 0, 100, integers=True).ticks(5)] == ["5", "10"]
    assert [tick.label for tick in Scale(1, 3, 0, 100, integers=True).ticks(5)] == ["1", "2", "3"]
    assert [tick.label for tick in Scale(0, 1, 0, 100).ticks(5)] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]


def test_places() -> None:
    assert Scale(0, 10, 50, 150)(5) == 100
    assert Scale(1, 100, 0, 100, log=True)(10) == 50
    assert Scale(0, 1, 200, 100)(1) == 100, "upwards"


@given(st.lists(st.floats(-1e9, 1e9), max_size=9), st.floats(0, 100))
def test_a_range_holds_its_numbers_and_is_wide_enough(numbers: list[float], least: float) -> None:
    low, high = padded(numbers, least=least)
    assert low < high
    assert all(low <= number <= high for number in numbers)
    assert not numbers or high - low >= least * (1 - 1e-6)


def test_numbers_that_are_none_have_no_part_in_a_range() -> None:
    assert padded([float("nan"), float("inf")]) == (0.0, 1.0)
    assert padded([0.0]) == (-0.5, 0.5)


@given(st.integers(0, 5000))
def test_long_curves_keep_their_ends_and_what_is_marked(count: int) -> None:
    marked = [count // 3]
    kept = thinned(count, marked)
    assert kept == sorted(set(kept))
    assert len(kept) <= MOST + 2
    assert not count or (kept[0], kept[-1]) == (0, count - 1)
    assert not count or marked[0] in kept


def test_a_curve_has_gaps_where_there_is_no_number() -> None:
    assert path([0, 1, 2, 3, 4], [5, 6, None, 7, 8]) == "M0 5L1 6M3 7L4 8"
    plot = curves(
        "t", "y", [1, 2, 3], {"a": [0.5, float("nan"), 0.7], "b": [None, None, 0.2]}, {"a": "c0", "b": "c1"}, text="{:.1f}".format
    )
    assert plot.lines[0].texts == ["0.5", "–", "0.7"]
    assert plot.lines[0].path.count("M") == 2
    assert plot.lines[1].single == (plot.lines[1].xs[2], plot.lines[1].ys[2])


def test_what_the_pointer_reads_is_what_is_drawn() -> None:
    plot = curves("t", "y", range(1, 1001), {"a": [e / 1000 for e in range(1000)]}, {"a": "c0"}, text="{:.3f}".format, marked=(778, "a"))
    data = plot.data
    assert len(data["x"]) == len(data["names"]) == len(data["lines"][0]["y"]) <= MOST + 2
    assert "epoch 778" in data["names"]
    assert data["lines"][0]["text"][data["names"].index("epoch 778")] == "0.777"
    assert (plot.points[0].x, plot.points[0].tip) == (data["x"][data["names"].index("epoch 778")], "selected: a, epoch 778\n0.777")


def test_a_strip_is_drawn_on_the_axis_of_its_table() -> None:
    found = strip(-1.0, 3.0, 1.0, [0.0, 2.0], (-2.0, 4.0), "c0", paper=4.0)
    assert found.low is not None
    assert found.high is not None
    assert found.zero is not None
    assert found.low < found.zero == found.seeds[0] < found.mean < found.seeds[1] < found.high < (found.paper or 0) <= found.width
    assert strip(None, None, 1.0, [], (0.5, 4.0), "c0").zero is None


@pytest.mark.parametrize(("right", "samples", "low", "high"), [(90, 100, 0.8256, 0.9448), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)])
def test_intervals_of_shares(right: int, samples: int, low: float, high: float) -> None:
    """Wilson's interval; the values are those of statsmodels' `proportion_confint(method="wilson")`."""
    assert wilson(right / samples, samples) == pytest.approx((low, high), abs=1e-4)
