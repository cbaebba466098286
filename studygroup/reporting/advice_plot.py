"""Picture of an advice: accuracy on the hold-out against the cost of training, and against the cost of a prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.escape import shortened
from studygroup.reporting.advice import control_of, title
from studygroup.reporting.colours import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
KINDS = {
    "alone": ("student alone", "#333333", "o"),
    "regularisation": ("with more regularisation", COLOURS[2], "s"),
    "larger": ("larger network", COLOURS[3], "D"),
    "group": ("group", COLOURS[0], "^"),
    "teacher": ("taught by a larger network", COLOURS[1], "v"),
}
"""Kind of a candidate -> legend, colour, marker."""
CHARACTER = (6.5, 13.0)
"""Width and height of a character of a label in pixels."""


def draw_advice(advice: Mapping[str, Any], path: str | Path) -> None:
    """Draw an advice.

    Args:
        advice: as `studygroup.advise` returns it.
        path: of the PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows: Sequence[Row] = [row for row in advice["rows"] if row["holdout"] is not None and row["training"] is not None]
    figure = Figure(figsize=(12, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    control = control_of(advice)
    _scatter(left, rows, "training", control, "cost of training, relative to the student alone in the last rung")
    _scatter(right, rows, "inference", control, "cost of a prediction, relative to the student's")
    alone = sorted((row for row in rows if row["kind"] == "alone"), key=lambda row: float(row["training"]))
    left.plot(
        [row["training"] / control["training"] for row in alone], [100 * row["holdout"] for row in alone], color=KINDS["alone"][1], lw=1
    )
    if advice["linear"]:
        height = 100 * advice["linear"]["holdout"]
        for axes in (left, right):
            axes.axhline(height, color="0.6", linestyle=":", linewidth=1.2)
        left.annotate("linear model", (0.01, height), xycoords=("axes fraction", "data"), fontsize=8, color="0.4", va="bottom")
    left.set_ylabel("hold-out accuracy in %, mean and standard error")
    used = {row["kind"] for row in rows}
    for kind, (label, colour, marker) in KINDS.items():
        if kind in used:
            right.plot([], [], marker, color=colour, label=label)
    figure.legend(loc="outside lower center", ncols=len(used), frameon=False, fontsize=9)
    figure.suptitle(shortened(title(advice), 130), fontsize=12, parse_math=False)
    left.margins(x=0.25)
    right.margins(x=0.15)
    figure.draw_without_rendering()  # which fixes the places of points, and with that those of their labels
    _label(left, rows, "training", control)
    ranked = sorted(rows, key=lambda row: (bool(row["winner"]), float(row["holdout"])))
    best = {round(row["inference"] / control["inference"], 2): row for row in ranked}
    _label(right, list(best.values()), "inference", control)
    figure.savefig(path)


def _scatter(axes: Axes, rows: Sequence[Row], key: str, control: Row, label: str) -> None:
    """Draw a point per row; those of earlier rungs are faded, the winner has a ring."""
    for row in rows:
        _, colour, marker = KINDS[row["kind"]]
        x, y = row[key] / control[key], 100 * row["holdout"]
        final = row["kind"] == "alone" or row["comparison"] == control["comparison"]
        reach = 100 * (row["holdout_std"] or 0.0) / math.sqrt(max(len(row["holdout_by_seed"]), 1))
        axes.errorbar(x, y, yerr=reach or None, fmt=marker, color=colour, alpha=1.0 if final else 0.35, capsize=2, linewidth=1)
        if row["winner"]:
            axes.plot(x, y, "o", markersize=15, markerfacecolor="none", color="#E69F00", markeredgewidth=2)
    axes.set_xlabel(label)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Axes, rows: Sequence[Row], key: str, control: Row) -> None:
    """Write the names of rows beside their points, from top to bottom, lower where another name is in the way."""
    places = [(row[key] / control[key], 100 * row["holdout"], str(row["name"])) for row in rows]
    placed: list[tuple[float, float, float]] = []
    for x, y, name in sorted(places, key=lambda place: (-place[1], place[0])):
        left, height = axes.transData.transform((x, y))
        right, wanted = left + CHARACTER[0] * len(name) + 12, height
        while any(
            left < other_right and other_left < right and abs(wanted - other) < CHARACTER[1] for other_left, other_right, other in placed
        ):
            wanted -= 2
        placed.append((left, right, wanted))
        label = axes.annotate(name, (x, y), xytext=(10, wanted - height - 2), textcoords="offset pixels", fontsize=7.5, parse_math=False)
        label.set_in_layout(False)
