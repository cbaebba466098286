"""Tables, matrices and facts as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from studygroup.escape import shortened
from studygroup.pages.plots import Rule
from studygroup.pages.scales import Scale

STRIP = 170.0
"""Width of the drawing in a cell."""


@dataclass(frozen=True)
class Strip:
    """An interval in a cell of a table.

    Attributes:
        zero: place of 0; None if it is not on the axis.
        low: place of the lower end; None if there is no interval.
        high: place of the upper end.
        mean: place of the mean.
        seeds: places of single values.
        css: class of the colour.
        paper: place of a published number; None if there is none.
    """

    zero: float | None
    low: float | None
    high: float | None
    mean: float
    seeds: Sequence[float]
    css: str
    paper: float | None = None
    width: float = STRIP


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: that is shown.
        sort: number by which rows are sorted; None to sort by the text.
        tip: what is said of it when it is pointed at.
        css: class of the cell.
        strip: drawing instead of the text.
        links: texts with the addresses that they lead to, which may be empty.
        dot: class of the colour of a dot before the text; empty for none.
    """

    text: str
    sort: float | None = None
    tip: str = ""
    css: str = ""
    strip: Strip | None = None
    links: Sequence[tuple[str, str]] = ()
    dot: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: its header, whether its cells are numbers, and an explanation."""

    title: str
    number: bool = True
    about: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells and its class."""

    cells: Sequence[Cell]
    css: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose rows can be sorted, and filtered if they are many.

    Attributes:
        title: above it.
        columns: of the table.
        rows: of the table.
        note: below it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""

    @property
    def filtered(self) -> bool:
        """Whether there are enough rows to filter them."""
        return len(self.rows) > 8


@dataclass(frozen=True)
class Square:
    """A cell of a matrix: its place, the depth of its colour in [0, 1], its text and what is said of it."""

    row: int
    column: int
    depth: float
    text: str
    tip: str
    css: str = "off"


@dataclass(frozen=True)
class Matrix:
    """A matrix as a drawing, with the names of rows and columns.

    Attributes:
        title: above it.
        rows: names of the rows.
        columns: names of the columns.
        squares: the cells that are not empty.
        row_label: what a row is.
        column_label: what a column is.
        note: below it.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    squares: Sequence[Square]
    row_label: str = ""
    column_label: str = ""
    note: str = ""
    lines: Sequence[Rule] = field(default=())

    @property
    def side(self) -> float:
        """Width of a cell."""
        return max(min(38.0, 560.0 / max(len(self.columns), 1)), 16.0)

    @property
    def left(self) -> float:
        """Width of the names of rows."""
        return (28.0 if self.row_label else 12.0) + 7.2 * max((len(self.short(name)) for name in self.rows), default=0)

    @property
    def top(self) -> float:
        """Height of the names of columns."""
        longest = max((len(self.short(name)) for name in self.columns), default=0)
        names = 5.8 * longest + 16.0 if self.slanted else 22.0
        return names + (16.0 if self.column_label else 0.0)

    @property
    def slanted(self) -> bool:
        """Whether the names of columns are too long to stand upright."""
        return any(7.2 * len(self.short(name)) > self.side for name in self.columns)

    @property
    def width(self) -> float:
        """Width of the drawing."""
        return self.left + self.side * len(self.columns) + (46.0 if self.slanted else 8.0)

    @property
    def height(self) -> float:
        """Height of the drawing."""
        return self.top + self.side * len(self.rows) + 8.0

    @property
    def texts(self) -> bool:
        """Whether the cells are large enough for their texts."""
        return self.side >= 26

    @staticmethod
    def short(name: str) -> str:
        """Return a name that fits beside the matrix."""
        return shortened(name, 16)


@dataclass(frozen=True)
class Fact:
    """A number that stands out: its name, the number, and a line on it."""

    name: str
    value: str
    note: str = ""
    css: str = ""


@dataclass(frozen=True)
class Measure:
    """A bar of a list: name, share in [0, 1], text, and the class of its colour."""

    name: str
    share: float
    text: str
    css: str = ""


@dataclass(frozen=True)
class Command:
    """A command with what it does."""

    about: str
    text: str


@dataclass(frozen=True)
class Finding:
    """Something to know or do; `kind` is good, warn or info."""

    kind: str
    text: str


def percent(share: float | None, digits: int = 2) -> str:
    """Format a share in per cent."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def points(share: float | None, digits: int = 2) -> str:
    """Format a difference of shares in points, with its sign."""
    return "–" if share is None else f"{100 * share + 0.0:+.{digits}f}"


def number_cell(value: float | None, text: str, css: str = "") -> Cell:
    """Return the cell of a number; one that is missing is sorted last."""
    return Cell(text, -math.inf if value is None or not math.isfinite(value) else value, css=css)


def strip(
    low: float | None,
    high: float | None,
    mean: float,
    seeds: Sequence[float],
    limits: tuple[float, float],
    css: str,
    paper: float | None = None,
) -> Strip:
    """Draw an interval on an axis that all rows of a table share."""
    scale = Scale(*limits, 6, STRIP - 6)
    zero = scale(0.0) if limits[0] <= 0 <= limits[1] else None
    begin, end = (None, None) if low is None or high is None else (scale(low), scale(high))
    return Strip(zero, begin, end, scale(mean), [scale(value) for value in seeds], css, None if paper is None else scale(paper))


def wilson(share: float, samples: int) -> tuple[float, float]:
    """Return the 95% interval of a share of independent samples (Wilson, 1927)."""
    z = 1.959964
    centre = (share + z * z / (2 * samples)) / (1 + z * z / samples)
    reach = z / (1 + z * z / samples) * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    return max(centre - reach, 0.0), min(centre + reach, 1.0)
