"""Claims and how they are tested: weighted sums of cells, seed by seed, whose sign the paper states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from studygroup.reporting.verdicts import Evidence, of_differences, of_interval

if TYPE_CHECKING:
    from studygroup.studies.study import Cell

Key = tuple[str, str, str]
Values = Mapping[Key, Mapping[int, float]]
"""Cell -> seed -> value, for the runs that are there."""
Published = Mapping[Key, float]


class Part(Protocol):
    """One statement of a claim."""

    @property
    def text(self) -> str:
        """What is stated."""

    def cells(self) -> list[Key]:
        """Return the cells that it is about."""

    def test(self, values: Values, published: Published) -> Evidence:
        """Test it on the values of the runs."""


@dataclass(frozen=True)
class Claim:
    """What a paper says of its numbers.

    Attributes:
        text: the claim.
        where: its place in the paper.
        how: how it is tested, in words.
        parts: it holds if all of them do.
        unit: of the differences.
    """

    text: str
    where: str
    how: str
    parts: Sequence[Part]
    unit: str = "points"


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of cells that is claimed to be above 0; its value is computed for each seed that has all of them.

    Attributes:
        text: of the statement.
        weights: (cell, weight) pairs.
    """

    text: str
    weights: Sequence[tuple[Key, float]]

    def cells(self) -> list[Key]:
        """See `Part`."""
        return [key for key, _ in self.weights]

    def test(self, values: Values, published: Published) -> Evidence:
        """See `Part`."""
        seeds = [set(values.get(key, {})) for key in self.cells()]
        common = sorted(set.intersection(*seeds)) if seeds else []
        by_seed = {seed: sum(weight * values[key][seed] for key, weight in self.weights) for seed in common}
        known = all(key in published for key, _ in self.weights)
        told = sum(weight * published[key] for key, weight in self.weights) if known and self.weights else None
        return of_differences(self.text, by_seed, published=told, missing=_missing(self.cells(), values))


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation between the means of two lists of cells that is claimed to be above 0.

    Attributes:
        text: of the statement.
        first: cells of one list.
        second: cells of the other one, in the same order.
    """

    text: str
    first: Sequence[Key]
    second: Sequence[Key]

    def cells(self) -> list[Key]:
        """See `Part`."""
        return [*self.first, *self.second]

    def test(self, values: Values, published: Published) -> Evidence:
        """See `Part`."""
        from studygroup.analysis.ranks import rank_correlation

        missing = _missing(self.cells(), values)
        if missing or len(self.first) < 4:
            return of_interval(self.text, None, None, None, missing=missing)
        first, second = ([sum(values[key].values()) / len(values[key]) for key in keys] for keys in (self.first, self.second))
        return of_interval(self.text, *rank_correlation(first, second))


@dataclass(frozen=True)
class BestOf:
    """The mean of the cells that are best elsewhere, over the mean of the others: what is chosen in one place leads in another.

    Attributes:
        text: of the statement.
        chosen_by: cells whose mean over seeds chooses.
        scored: cells to compare, in the same order.
        best: number of cells that are chosen.
    """

    text: str
    chosen_by: Sequence[Key]
    scored: Sequence[Key]
    best: int

    def cells(self) -> list[Key]:
        """See `Part`."""
        return [*self.chosen_by, *self.scored]

    def test(self, values: Values, published: Published) -> Evidence:
        """See `Part`."""
        missing = _missing(self.cells(), values)
        if missing:
            return of_differences(self.text, {}, missing=missing)
        means = [sum(values[key].values()) / len(values[key]) for key in self.chosen_by]
        order = sorted(range(len(means)), key=lambda place: -means[place])
        top, others = order[: self.best], order[self.best :]
        weights = [(self.scored[place], 1 / len(top)) for place in top] + [(self.scored[place], -1 / len(others)) for place in others]
        return Contrast(self.text, weights).test(values, {})


def above(high: Cell, low: Cell, text: str = "") -> Contrast:
    """State that one cell is above another."""
    return Contrast(text or _told(high, low), [(high.key, 1.0), (low.key, -1.0)])


def all_above(high: Mapping[str, Cell], low: Mapping[str, Cell]) -> list[Contrast]:
    """State that one row is above another in every column that both have."""
    return [above(high[column], low[column]) for column in high if column in low]


def gain_above(high: tuple[Cell, Cell], low: tuple[Cell, Cell], text: str) -> Contrast:
    """State that one difference of two cells is above another: (a, b), (c, d) -> a - b > c - d."""
    (a, b), (c, d) = high, low
    return Contrast(text, [(a.key, 1.0), (b.key, -1.0), (c.key, -1.0), (d.key, 1.0)])


def slope(cells: Sequence[Cell], text: str, sign: float = 1.0, *, place: Callable[[float], float] = float) -> Contrast:
    """State that the least-squares line through cells rises, or falls with the sign -1.

    Args:
        cells: two or more.
        text: of the statement.
        sign: of the slope.
        place: of a cell's x on the horizontal axis, such as its logarithm.
    """
    places = [place(float(cell.x or 0.0)) for cell in cells]
    middle = sum(places) / len(places)
    square = sum((at - middle) ** 2 for at in places)
    return Contrast(text, [(cell.key, sign * (at - middle) / square) for cell, at in zip(cells, places, strict=True)])


def difference(first: Contrast, second: Contrast, text: str) -> Contrast:
    """State that one quantity is above another."""
    return Contrast(text, [*first.weights, *((key, -weight) for key, weight in second.weights)])


def rise_and_fall(cells: Sequence[Cell], name: str) -> list[Contrast]:
    """State that a curve rises in its first step and falls in its last one."""
    first, second, *_ = cells
    *_, before, last = cells
    return [
        above(second, first, f"{name} rises from {first.column} to {second.column}"),
        above(before, last, f"{name} falls from {before.column} to {last.column}"),
    ]


def _told(high: Cell, low: Cell) -> str:
    if high.row != low.row:
        where = high.column if high.column == low.column else f"{high.column} and {low.column}"
        return f"{high.row} above {low.row}, {where}"
    return f"{high.row}: {high.column} above {low.column}"


def _missing(keys: Sequence[Key], values: Values) -> list[str]:
    return [", ".join(filter(None, key)) for key in keys if not values.get(key)]
