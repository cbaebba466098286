"""Several run folders -> the data of the page that compares them."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studygroup.escape import one_line, shortened
from studygroup.pages.plots import Key, Plot, css, curves
from studygroup.pages.tables import Cell, Column, Row, Table, number_cell
from studygroup.reporting.leaderboard import grouped, label, leaderboard
from studygroup.reporting.tables import CAPTION, NAMES, NUMBERS
from studygroup.runs.layout import REPORT
from studygroup.runs.reader import RunRecord, read_runs, values

KEYS = {
    "test": "test",
    "last epoch": "last_test",
    "members": "members_test",
    "ensemble": "ensemble_test",
    "hold-out": "holdout",
    "top-5": "top5",
    "mean F1": "macro_f1",
    "NLL": "negative_log_likelihood",
    "calibration error": "calibration_error",
    "diversity": "diversity",
    "epochs": "epochs_done",
    "time": "seconds",
    "parameters": "parameters",
}
"""Header of a number -> key in a row of the leaderboard."""


@dataclass(frozen=True)
class RunsPage:
    """All that the page of several runs shows.

    Attributes:
        title: of the page.
        sentence: what is compared, and how far that goes.
        leaderboard: a row per group of runs that differ in their seed only.
        note: on its columns.
        legend: of the curves.
        curves: over the epochs.
    """

    title: str
    sentence: str
    leaderboard: Table
    note: str
    legend: Sequence[Key]
    curves: Sequence[Plot]


def runs_page(runs: Sequence[Path], out: Path) -> RunsPage:
    """Gather what the page of several runs shows.

    Args:
        runs: their folders.
        out: the folder of the page, for the addresses of the runs' reports.

    Raises:
        UserError: a folder holds no run, or a damaged one.
    """
    rows = leaderboard(runs)
    groups = grouped(read_runs(runs))
    data = ", ".join(dict.fromkeys(shortened(str(row["data"]), 40) for row in rows))
    plots, legend = _curves(groups)
    count = sum(len(members) for members, _ in groups)
    return RunsPage(
        title=f"{count} runs on {data}" if data else f"{count} runs",
        sentence=f"{len(rows)} groups of runs that differ in their seed only. For differences with intervals, seed by seed, train such a "
        "comparison with studygroup compare.",
        leaderboard=_table(rows, out),
        note=CAPTION,
        legend=legend,
        curves=plots,
    )


def _table(rows: Sequence[Mapping[str, object]], out: Path) -> Table:
    names = [(header, text) for header, text in NAMES if {text(row) for row in rows} != {""}]
    numbers = [(header, text) for header, text in NUMBERS if header in KEYS and {text(row) for row in rows} != {"–"}]
    columns = [
        *(Column(header, number=False) for header, _ in names),
        *(Column(header) for header, _ in numbers),
        Column("seeds", number=False),
    ]
    made = []
    for row in rows:
        cells = [Cell(one_line(text(row))) for _, text in names]
        for header, text in numbers:
            value = row.get(KEYS[header])
            cells.append(number_cell(float(value) if isinstance(value, int | float) else None, text(row)))
        made.append(Row([*cells, Cell("", links=_links(row, out))], "" if row["finished"] else "dim"))
    return Table("Leaderboard", columns, made)


def _links(row: Mapping[str, object], out: Path) -> list[tuple[str, str]]:
    seeds, runs = row["seeds"], row["runs"]
    assert isinstance(seeds, list)
    assert isinstance(runs, list)
    pages = [Path(run) / REPORT for run in runs]
    return [
        (str(seed), Path(os.path.relpath(page, out)).as_posix() if page.is_file() else "") for seed, page in zip(seeds, pages, strict=True)
    ]


def _curves(groups: Sequence[tuple[list[RunRecord], str]]) -> tuple[list[Plot], list[Key]]:
    """Return the hold-out accuracy over the epochs of every group, the mean over its seeds, and the legend."""
    series: dict[str, list[float | None]] = {}
    longest = max((len(record.epochs) for members, _ in groups for record in members), default=0)
    for members, settings in groups:
        name = shortened(label(members[0], settings), 60)
        numbered = name if name not in series else f"{name} ({len(series) + 1})"
        columns: list[float | None] = []
        for place in range(longest):
            best = [_best(record, place) for record in members]
            found = [value for value in best if value is not None]
            columns.append(statistics.fmean(found) if len(found) == len(best) and found else None)
        series[numbered] = columns
    known = {name: numbers for name, numbers in series.items() if any(v is not None for v in numbers)}
    if not known:
        return [], []
    colours = {name: css(place) for place, name in enumerate(known)}
    plot = curves(
        "Hold-out accuracy, best member of each epoch",
        "% of the hold-out samples",
        range(1, longest + 1),
        known,
        colours,
        text="{:.2f} %".format,
        late=True,
        limits=(0.0, 100.0),
        least=2.0,
        note="The mean over seeds.",
    )
    return [plot], [Key(name, colour, place < 8) for place, (name, colour) in enumerate(colours.items())]


def _best(record: RunRecord, place: int) -> float | None:
    if place >= len(record.epochs):
        return None
    scores = values(record.epochs[place], "holdout")
    found = [scores[name] for name in record.candidates if name in scores and math.isfinite(scores[name])]
    return 100 * max(found) if found else None
