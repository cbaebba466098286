"""Plot of a comparison: a row per variant with its accuracies, its difference to the baseline, and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.escape import shortened
from studygroup.reporting.colours import KINDS, kind
from studygroup.reporting.comparison_tables import name, scored_on, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
POINTS = 100.0
NAME = 32  # characters of a variant's name
FADED = "0.55"


def draw_comparison(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw a comparison; the three panels share their rows, and a colour tells how a network was trained.

    Args:
        result: as returned by `comparison`.
        path: of the PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if row["test"] is not None]
    figure = Figure(figsize=(12.5, max(1.9 + 0.34 * len(rows), 3.2)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(1.25, 1.25, 1))
    scored = scored_on(result)
    _accuracies(left, rows, scored)
    _differences(middle, rows, result["reference"], scored)
    _costs(right, rows)
    for axes in (left, middle, right):
        _style(axes, rows)
    left.set_yticks(range(len(rows)), [shortened(name(row), NAME) for row in rows], parse_math=False)
    for label, row in zip(left.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row["role"] == "baseline" else "normal")
    left.set_ylim(len(rows) - 0.4, -0.6)
    _legend(figure, rows)
    figure.suptitle(shortened(title(result), 130), fontsize=12, parse_math=False)
    figure.savefig(path)


def _legend(figure: Any, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    used = {kind(row) for row in rows}
    keys = [Line2D([], [], color=colour, marker="o", linestyle="", label=text) for key, (text, colour) in KINDS.items() if key in used]
    if any(row["ensemble_test"] is not None for row in rows):
        keys.append(Line2D([], [], color=FADED, marker="^", linestyle="", markerfacecolor="white", label="ensemble of the students"))
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=9)


def _colour(row: Row) -> str:
    return KINDS[kind(row)][1]


def _accuracies(axes: Axes, rows: Sequence[Row], scored: str) -> None:
    """Draw the accuracy of the selected student of every row, with one standard deviation, and of the ensemble."""
    for place, row in enumerate(rows):
        colour = _colour(row)
        if row["ensemble_test"] is not None:
            axes.plot(POINTS * row["ensemble_test"], place, "^", color=colour, markerfacecolor="white", markersize=6)
        std = None if row["test_std"] is None else POINTS * row["test_std"]
        axes.errorbar(POINTS * row["test"], place, xerr=std, fmt="o", color=colour, capsize=3, linewidth=1.6)
    held_out = any(row["holdout"] is not None for row in rows)
    axes.set_title(f"{scored.capitalize()} accuracy" + (", best on the hold-out first" if held_out else ""), fontsize=10)
    several = any(row["test_std"] is not None for row in rows)
    axes.set_xlabel("%, mean and one standard deviation over seeds" if several else "%, one seed")


def _differences(axes: Axes, rows: Sequence[Row], reference: str, scored: str) -> None:
    """Draw the mean difference of every method, its interval, and the difference of every seed."""
    axes.axvline(0.0, color=KINDS["alone"][1], linewidth=1)
    shown = [(place, row) for place, row in enumerate(rows) if row["role"] != "teacher" and row["difference"] is not None]
    intervals = any(row["difference_low"] is not None for _, row in shown)
    for place, row in shown:
        colour, mean = _colour(row), POINTS * row["difference"]
        if row["difference_low"] is not None:
            reach = POINTS * (row["difference_high"] - row["difference_low"]) / 2
            axes.errorbar(mean, place, xerr=reach, fmt="none", color=colour, capsize=3, linewidth=1.6)
        seeds = [POINTS * value for value in row["difference_by_seed"].values()]
        if len(seeds) > 1:
            axes.plot(seeds, [place + 0.26] * len(seeds), "|", color=colour, markersize=5)
        axes.plot(mean, place, "o", color=colour)
    axes.set_title(f"Difference to {shortened(reference, NAME)}", fontsize=10, parse_math=False)
    axes.set_xlabel(f"points of {scored} accuracy" + ("; 95% interval, | each seed" if intervals else ", one seed"))
    if not shown:
        _empty(axes)


def _costs(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the cost of training of every row."""
    known = [row["cost"] for row in rows if row["cost"] is not None]
    for place, row in enumerate(rows):
        if row["cost"] is not None:
            axes.barh(place, row["cost"], height=0.55, color=_colour(row), alpha=0.85)
            axes.annotate(f"{row['cost']:.1f}x", (row["cost"], place), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center")
    axes.set_title("Cost of training", fontsize=10)
    axes.set_xlabel("operations (FLOPs) relative to the baseline")
    axes.set_xlim(0.0, 1.15 * max(known, default=1.0))
    if not known:
        _empty(axes)


def _style(axes: Axes, rows: Sequence[Row]) -> None:
    """Shade every second row, so that the eye finds a row in all panels."""
    for place in range(0, len(rows), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="0.955", zorder=0, linewidth=0)
    axes.grid(visible=True, axis="x", color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=FADED)
    axes.set_xticks([])
