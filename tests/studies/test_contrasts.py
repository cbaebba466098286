"""Statements of claims, on values by hand."""

from __future__ import annotations

import pytest

from studygroup.studies.contrasts import BestOf, Key, RankCorrelation, above, all_above, difference, gain_above, rise_and_fall, slope
from studygroup.studies.study import Cell, rows


def cell(row: str, column: str = "a", x: float | None = None, published: float | None = None) -> Cell:
    return Cell(row, column, "panel", row, x=x, published=published)


def key(row: str, column: str = "a") -> Key:
    return "", row, column


def test_a_paired_difference_takes_the_seeds_that_both_have() -> None:
    tested = above(cell("cgl"), cell("dml")).test({key("cgl"): {0: 80.0, 1: 81.0, 3: 99.0}, key("dml"): {0: 79.0, 1: 79.5, 2: 1.0}}, {})
    assert tested.by_seed == {0: 1.0, 1: 1.5}
    assert tested.mean == 1.25


def test_the_papers_difference_is_computed_in_the_same_way() -> None:
    published = {key("cgl"): 78.01, key("dml"): 76.13}
    assert above(cell("cgl"), cell("dml")).test({}, published).published == pytest.approx(1.88)
    assert above(cell("cgl"), cell("dml")).test({}, {key("cgl"): 78.01}).published is None


def test_cells_without_runs_are_named() -> None:
    tested = above(cell("cgl"), cell("dml")).test({key("cgl"): {0: 1.0, 1: 2.0}}, {})
    assert (tested.verdict, tested.reason) == ("undecided", "there is no run of dml, a")


def test_a_row_above_another_in_every_column_that_both_have() -> None:
    table = rows([cell("cgl", "a"), cell("cgl", "b"), cell("fsp", "b")])
    parts = all_above(table["cgl"], table["fsp"])
    assert [part.weights for part in parts] == [[(key("cgl", "b"), 1.0), (key("fsp", "b"), -1.0)]]


def test_a_gain_above_another() -> None:
    values = {key("s", "x"): {0: 5.0}, key("b", "x"): {0: 2.0}, key("s", "y"): {0: 9.0}, key("b", "y"): {0: 8.0}}
    part = gain_above((cell("s", "x"), cell("b", "x")), (cell("s", "y"), cell("b", "y")), "more with x")
    assert part.test(values, {}).by_seed == {0: 2.0}


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 2.0), (-1.0, -2.0)])
def test_a_slope_is_that_of_the_least_squares_line(sign: float, expected: float) -> None:
    cells = [cell("cgl", str(x), x) for x in (1.0, 2.0, 4.0)]
    values = {cell.key: {0: 2.0 * float(cell.x or 0) + 7.0} for cell in cells}
    assert slope(cells, "rises", sign).test(values, {}).by_seed[0] == pytest.approx(expected)


def test_a_slope_off_the_line() -> None:
    cells = [cell("cgl", str(x), x) for x in (0.0, 1.0, 2.0)]
    values = {cells[0].key: {0: 0.0}, cells[1].key: {0: 5.0}, cells[2].key: {0: 2.0}}
    assert slope(cells, "rises").test(values, {}).by_seed[0] == pytest.approx(1.0)  # ((0)(-1) + (2)(1)) / 2


def test_a_slope_over_another_axis_and_the_difference_of_two() -> None:
    first = [cell("one", str(x), x) for x in (2.0, 8.0)]
    second = [cell("cgl", str(x), x) for x in (2.0, 8.0)]
    values = {first[0].key: {0: 1.0}, first[1].key: {0: 2.0}, second[0].key: {0: 1.0}, second[1].key: {0: 7.0}}
    place = {2.0: 1.0, 8.0: 3.0}.__getitem__
    one, cgl = (slope(cells, "s", place=place) for cells in (first, second))
    assert one.test(values, {}).by_seed[0] == pytest.approx(0.5)
    assert difference(cgl, one, "steeper").test(values, {}).by_seed[0] == pytest.approx(2.5)


def test_a_curve_that_rises_and_falls() -> None:
    cells = [cell("cgl", str(x), x) for x in (1.0, 2.0, 3.0, 4.0)]
    heights = dict(zip((cell.key for cell in cells), ({0: 1.0}, {0: 3.0}, {0: 9.0}, {0: 8.0}), strict=True))
    assert [part.test(heights, {}).mean for part in rise_and_fall(cells, "accuracy")] == [2.0, 1.0]


def test_what_is_best_elsewhere_is_compared_with_the_others() -> None:
    chosen_by = [key(name, "first") for name in "abc"]
    scored = [key(name, "second") for name in "abc"]
    values = {
        **dict(zip(chosen_by, ({0: 1.0, 1: 3.0}, {0: 5.0, 1: 5.0}, {0: 0.0, 1: 0.0}), strict=True)),
        **dict(zip(scored, ({0: 10.0, 1: 11.0}, {0: 14.0, 1: 16.0}, {0: 12.0, 1: 13.0}), strict=True)),
    }
    tested = BestOf("b leads", chosen_by, scored, best=1).test(values, {})
    assert tested.by_seed == {0: 3.0, 1: 4.0}, "b, chosen by the first, over the mean of a and c on the second"
    lost = BestOf("b leads", chosen_by, scored, best=1).test({**values, chosen_by[0]: {}}, {})
    assert lost.reason == "there is no run of a, first"


def test_a_rank_correlation_of_means() -> None:
    first, second = ([key(str(number), column) for number in range(8)] for column in ("a", "b"))
    values = {place: {0: float(number), 1: float(number)} for keys in (first, second) for number, place in enumerate(keys)}
    tested = RankCorrelation("ranks", first, second).test(values, {})
    assert tested.mean == pytest.approx(1.0)
    assert tested.verdict == "holds"
    assert RankCorrelation("ranks", first[:3], second[:3]).test(values, {}).reason == "there are too few values"
    assert RankCorrelation("ranks", first, second).test({**values, first[0]: {}}, {}).reason == "there is no run of 0, a"
