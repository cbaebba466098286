"""Picture of an advice: accuracy on the hold-out against the cost of training, and against the cost of a prediction."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
WINNER = "#E69F00"
REACH = 4.0
"""Points lower than this many times the distance from the best to the median are drawn at the lower edge, with their value in the label."""
LINE = 15.0
"""Distance of two labels in pixels."""


def draw_advice(advice: Mapping[str, Any], path: str | Path) -> None:
    """Draw an advice.

    Args:
        advice: as `studygroup.advise` returns it.
        path: of the PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows: Sequence[Row] = [row for row in advice["rows"] if row["holdout"] is not None and row["training"] is not None]
    figure = Figure(figsize=(12, 5.2), dpi=120)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 4))
    figure.subplots_adjust(left=0.06, right=0.87, top=0.91, bottom=0.2, wspace=0.42)
    control = control_of(advice)
    heights = Heights.of(rows)
    _scatter(left, rows, "training", control, heights, "cost of training, relative to the student alone in the last rung")
    _scatter(right, rows, "inference", control, heights, "cost of a prediction, relative to the student's")
    alone = sorted((row for row in rows if row["kind"] == "alone"), key=lambda row: float(row["training"]))
    line = [row["training"] / control["training"] for row in alone], [heights(100 * row["holdout"]) for row in alone]
    left.plot(*line, color=KINDS["alone"][1], lw=1)
    if advice["linear"]:
        height = 100 * advice["linear"]["holdout"]
        for axes in (left, right):
            if height >= heights.lowest:
                axes.axhline(height, color="0.6", linestyle=":", linewidth=1.2)
        at = heights(height)
        words = heights.text("linear model", height)
        left.annotate(words, (0.99, at), xycoords=("axes fraction", "data"), fontsize=8, color="0.4", ha="right", va="bottom")
    left.set_ylabel("hold-out accuracy in %, mean and standard error")
    used = {row["kind"] for row in rows}
    for kind, (label, colour, marker) in KINDS.items():
        if kind in used:
            right.plot([], [], marker, color=colour, label=label)
    figure.legend(loc="lower center", ncols=len(used), frameon=False, fontsize=9)
    figure.suptitle(shortened(title(advice), 130), fontsize=12, parse_math=False)
    left.margins(x=0.08)
    right.margins(x=0.12)
    figure.draw_without_rendering()  # which fixes the places of points, and with that those of their labels
    _label(left, rows, "training", control, heights)
    ranked = sorted(rows, key=lambda row: (bool(row["winner"]), float(row["holdout"])))
    best = {round(row["inference"] / control["inference"], 2): row for row in ranked}
    _label(right, list(best.values()), "inference", control, heights)
    figure.savefig(path)


@dataclass(frozen=True)
class Heights:
    """The axis of accuracies in %: one bad candidate must not squeeze the others into a line.

    Attributes:
        lowest: the lowest value that has its own height.
        edge: the height of all lower ones.
    """

    lowest: float
    edge: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Heights:
        """Return the axis of some rows."""
        values = [100 * row["holdout"] for row in rows]
        best = max(values)
        limit = best - REACH * max(best - statistics.median(values), 0.25)
        shown = [row for row in rows if 100 * row["holdout"] >= limit]
        foot = min(100 * row["holdout"] - _error(row) for row in shown)
        return cls(min(100 * row["holdout"] for row in shown), foot - 0.08 * (best - foot))

    def __call__(self, value: float) -> float:
        """Return the height of a value."""
        return value if value >= self.lowest else self.edge

    def text(self, name: str, value: float) -> str:
        """Return the label of a value."""
        return f"{name}  {value:.1f}" if value >= self.lowest else f"↓ {name}  {value:.1f}"


def _error(row: Row) -> float:
    """Return the standard error of a row's accuracy over seeds, in points."""
    return 100 * (row["holdout_std"] or 0.0) / math.sqrt(max(len(row["holdout_by_seed"]), 1))


def _scatter(axes: Axes, rows: Sequence[Row], key: str, control: Row, heights: Heights, label: str) -> None:
    """Draw a point per row; those of earlier rungs are faded, the winner has a ring."""
    for row in rows:
        _, colour, marker = KINDS[row["kind"]]
        value = 100 * row["holdout"]
        x, y = row[key] / control[key], heights(value)
        final = row["kind"] == "alone" or row["comparison"] == control["comparison"]
        error = _error(row) if y == value else 0.0
        axes.errorbar(x, y, yerr=error or None, fmt=marker, color=colour, alpha=1.0 if final else 0.35, capsize=2, linewidth=1)
        if row["winner"]:
            axes.plot(x, y, "o", markersize=15, markerfacecolor="none", color=WINNER, markeredgewidth=2)
    axes.set_xlabel(label)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Axes, rows: Sequence[Row], key: str, control: Row, heights: Heights) -> None:
    """Write the names of rows in a column beside the axes, in the order of their heights, with lines to their points."""
    ordered = sorted(rows, key=lambda row: (-float(row["holdout"]), str(row["name"])))
    points = [(row[key] / control[key], heights(100 * row["holdout"])) for row in ordered]
    wanted = [float(axes.transData.transform(point)[1]) for point in points]
    bottom, top = axes.bbox.y0, axes.bbox.y1
    for row, point, height in zip(ordered, points, spread(wanted, LINE, bottom, top), strict=True):
        label = axes.annotate(
            shortened(heights.text(str(row["name"]), 100 * row["holdout"]), 26),
            point,
            xytext=(1.05, (height - bottom) / (top - bottom)),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=KINDS[row["kind"]][1],
            fontweight="bold" if row["winner"] else "normal",
            arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.7, "shrinkB": 4},
            parse_math=False,
        )
        label.set_in_layout(False)


def spread(wanted: Sequence[float], distance: float, bottom: float, top: float) -> list[float]:
    """Return heights near the wanted ones, at least `distance` apart, in the same order from top to bottom.

    Args:
        wanted: heights, the highest first.
        distance: of two neighbours; smaller where there is no room for it.
        bottom: lowest height.
        top: highest height.
    """
    distance = min(distance, (top - bottom) / max(len(wanted), 1))
    heights: list[float] = []
    for height in wanted:
        heights.append(min(height, heights[-1] - distance if heights else top))
    lowest = bottom
    for position in reversed(range(len(heights))):
        heights[position] = max(heights[position], lowest)
        lowest = heights[position] + distance
    return heights
