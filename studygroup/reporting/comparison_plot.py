"""Plot of a comparison: accuracies, differences to the baseline, and accuracy against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.reporting.comparison_tables import name, scored_on, title
from studygroup.reporting.curves import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
# of every row: key, label, marker, offset from the middle of the row
MARKS = (("test", "selected", "o", 0.22), ("last_test", "last epoch", "s", 0.0), ("ensemble_test", "ensemble", "^", -0.22))
POINTS = 100.0
CROWDED = 8  # number of variants from which on points are labelled by number


def draw_comparison(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw a comparison.

    Args:
        result: as returned by `comparison`.
        path: of the PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = [row for row in result["rows"] if row["test"] is not None]
    taught = [row for row in rows if row["role"] != "teacher"]
    crowded = len(rows) >= CROWDED
    names = {row["variant"]: (f"{number}  " if crowded else "") + name(row) for number, row in enumerate(rows, start=1)}
    marks = {row["variant"]: str(number) if crowded else row["variant"] for number, row in enumerate(rows, start=1)}
    colours = {row["variant"]: COLOURS[place % len(COLOURS)] for place, row in enumerate(rows)}
    height = max(1.9 + 0.5 * len(rows), 3.4)
    figure = Figure(figsize=(13.5, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    scored = scored_on(result)
    _accuracies(left, rows, names, colours, scored)
    _differences(middle, [row for row in taught if row["difference"] is not None], names, colours, result["reference"], scored)
    _costs(right, taught, marks, colours, scored)
    keys = [
        Line2D([], [], color="0.3", marker=marker, linestyle="", markerfacecolor="0.3" if key == "test" else "white", label=text)
        for key, text, marker, _ in MARKS
    ]
    figure.legend(handles=keys, loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(title(result), fontsize=11)
    figure.savefig(path)


def _accuracies(axes: Axes, rows: Sequence[Row], names: Mapping[str, str], colours: Mapping[str, str], scored: str) -> None:
    """Draw the accuracies of every row, with one standard deviation."""
    for place, row in enumerate(rows):
        for key, _, marker, above in MARKS:
            if row[key] is None:
                continue
            std = None if row[f"{key}_std"] is None else POINTS * row[f"{key}_std"]
            filled = colours[row["variant"]] if key == "test" else "white"
            axes.errorbar(
                POINTS * row[key], place - above, xerr=std, fmt=marker, color=colours[row["variant"]], markerfacecolor=filled, capsize=2
            )
    _rows(axes, [names[row["variant"]] for row in rows])
    axes.set_title(f"{scored.capitalize()} accuracy, sorted by hold-out", fontsize=10)
    axes.set_xlabel(f"{scored} accuracy (%), mean and one standard deviation")


def _differences(
    axes: Axes, rows: Sequence[Row], names: Mapping[str, str], colours: Mapping[str, str], reference: str, scored: str
) -> None:
    """Draw the mean difference of every method, its interval, and the difference of every seed."""
    axes.axvline(0.0, color="0.4", linewidth=1)
    intervals = any(row["difference_low"] is not None for row in rows)
    for place, row in enumerate(rows):
        colour, mean = colours[row["variant"]], POINTS * row["difference"]
        if row["difference_low"] is not None:
            reach = POINTS * (row["difference_high"] - row["difference_low"]) / 2
            axes.errorbar(mean, place, xerr=reach, fmt="o", color=colour, capsize=4, linewidth=1.6)
        seeds = [POINTS * value for value in row["difference_by_seed"].values()]
        axes.plot(seeds, [place + 0.2] * len(seeds), "|", color=colour, alpha=0.8)
        axes.plot(mean, place, "o", color=colour)
    _rows(axes, [names[row["variant"]] for row in rows])
    axes.set_title(f"Difference to {reference}, selected student", fontsize=10)
    axes.set_xlabel(f"points of {scored} accuracy" + ("; 95% interval, | each seed" if intervals else "; no interval with one seed"))
    if not rows:
        _empty(axes)


def _costs(axes: Axes, rows: Sequence[Row], marks: Mapping[str, str], colours: Mapping[str, str], scored: str) -> None:
    """Draw accuracy against the cost of training."""
    shown = [row for row in rows if row["cost"] is not None]
    for row in shown:
        std = None if row["test_std"] is None else POINTS * row["test_std"]
        axes.errorbar(row["cost"], POINTS * row["test"], yerr=std, fmt="o", color=colours[row["variant"]], capsize=2)
        axes.annotate(marks[row["variant"]], (row["cost"], POINTS * row["test"]), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set_title("Accuracy against the cost of training", fontsize=10)
    axes.set_xlabel("training FLOPs relative to the baseline")
    axes.set_ylabel(f"{scored} accuracy (%)")
    axes.margins(x=0.15, y=0.15)
    axes.set_xlim(left=0.0)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not shown:
        _empty(axes)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Set a tick for each row, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=True, axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color="0.5")
    axes.set_xticks([])
    axes.set_yticks([])
