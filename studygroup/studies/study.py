"""What a study is, as data: runs, the cells of its table, a figure, and claims. A study is one short file with a function `plan`.

def plan(setting: Setting) -> Plan:
    panels = protocols.cgl_images(setting, GROUPS)                        # runs: comparisons with variants
    cells = [Cell(LABELS[name], panel.title, panel.name, name, published=...)   # numbers of the table
             for panel in panels for name in GROUPS]
    return Plan(panels, cells, Figure("gains", reference="Baseline"), claims=[...])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from studygroup.studies.contrasts import Claim

Scale = Literal["tiny", "small", "paper"]
Kind = Literal["images", "texts"]
Variants = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Setting:
    """What a study is planned for.

    Attributes:
        scale: of the study.
        images: data of images to take instead of the scale's own; None for the scale's.
        texts: the same for texts.
        student: network to take instead of the scale's; None for the scale's.
        places: where published data sets are, by name, at the scale `paper`.
    """

    scale: Scale
    images: str | None = None
    texts: str | None = None
    student: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)

    def published(self, data: str) -> str:
        """Return a published data set with its place, if that is given."""
        return self.places.get(data, data)


@dataclass(frozen=True)
class Panel:
    """One comparison of a study: variants on the same data.

    Attributes:
        name: of its folder.
        title: what the table calls it.
        options: of `studygroup compare`, without variants, seeds and folder.
        variants: as in a recipe of `studygroup compare`.
    """

    name: str
    title: str
    options: Mapping[str, Any]
    variants: Variants


@dataclass(frozen=True)
class Cell:
    """One number of a study's table.

    Attributes:
        row: of the table.
        column: of the table.
        panel: the comparison that it is read from.
        variant: of that comparison.
        measure: what is read from each run (`studygroup.studies.measures`).
        block: the part of the table; figures draw each by itself.
        x: place on the horizontal axis of lines or a map.
        y: place on the vertical axis of a map.
        published: the paper's number (in %, if it is an accuracy); None if it prints none.
        published_std: its standard deviation.
        stands_for: the paper's column, if it is not this one.
    """

    row: str
    column: str
    panel: str
    variant: str
    measure: str = "test"
    block: str = ""
    x: float | None = None
    y: float | None = None
    published: float | None = None
    published_std: float | None = None
    stands_for: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Its place in the table."""
        return self.block, self.row, self.column


@dataclass(frozen=True)
class Figure:
    """How a study's numbers are drawn.

    Attributes:
        kind: `gains` draws the difference of each row to the reference, a panel per column; `lines` the cells of a row over their x, a
            panel per block; `bars` the cells of a column side by side; `scatter` one column of a row against the other one; `map` cells
            over training-set size and updates.
        reference: the row that gains are over.
        x_label: title of the horizontal axis.
        blocks: the blocks of each panel of lines, the second with an axis of its own on the right; by default a panel per block.
        log: logarithmic horizontal axis.
    """

    kind: Literal["gains", "lines", "bars", "scatter", "map"]
    reference: str = ""
    x_label: str = ""
    blocks: Sequence[Sequence[str]] = ()
    log: bool = False


@dataclass(frozen=True)
class Plan:
    """A study at one scale.

    Attributes:
        panels: its runs.
        cells: its numbers.
        figure: how they are drawn.
        claims: what is tested.
        notes: what differs from the paper, and what is left out at this scale.
    """

    panels: Sequence[Panel]
    cells: Sequence[Cell]
    figure: Figure
    claims: Sequence[Claim]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Study:
    """A table or a figure of a paper.

    Attributes:
        name: of the study.
        title: what the table or figure shows.
        source: the paper and the place in it.
        plan: returns the runs, numbers and claims at a scale.
        needs: kinds of data without which it cannot be run.
        takes: kinds of data that it can do without.
        fixed_networks: whether the networks are what is studied, so that none can be given.
    """

    name: str
    title: str
    source: str
    plan: Callable[[Setting], Plan]
    needs: Sequence[Kind] = field(default=("images",))
    takes: Sequence[Kind] = field(default=())
    fixed_networks: bool = False


def rows(cells: Iterable[Cell], block: str = "") -> dict[str, dict[str, Cell]]:
    """Arrange the cells of a block: row -> column -> cell."""
    found: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        if cell.block == block:
            found.setdefault(cell.row, {})[cell.column] = cell
    return found
