"""The figure of a study."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.escape import shortened
from studygroup.reporting.colours import COLOURS
from studygroup.reporting.study import Cell, blocks, distinct
from studygroup.reporting.study_map import draw_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "0.35"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LETTERS, SMALL_LETTERS = 9.5, 13.0
"""Letters of a heading, and of the title of an axis, to an inch."""
NAME = 34
"""Characters of a name."""
PAPER = "the paper's"


def draw_study(study: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """Draw the figure of a study.

    Args:
        study: as `studygroup.study` returns it.
        paths: of the files to write; their suffixes say in which format.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    draw: dict[str, Callable[[Figure, Mapping[str, Any]], None]] = {
        "gains": _gains,
        "lines": _lines,
        "bars": _bars,
        "scatter": _scatter,
        "map": draw_map,
    }
    draw[study["figure"]["kind"]](figure, study)
    heading = shortened(f"{study['title']} ({study['scale']}, {study['seeds']} seeds)", 110)
    figure.suptitle(textwrap.fill(heading, int(LETTERS * figure.get_figwidth())), fontsize=11, parse_math=False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": study["name"]}):
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _gains(figure: Figure, study: Mapping[str, Any]) -> None:
    """Draw what each row gains over the reference, by seed, beside what it gains in the paper."""
    cells = blocks(study)[""]
    reference = study["figure"]["reference"]
    names, titles = [row for row in distinct(cells, "row") if row != reference], distinct(cells, "column")
    across = min(len(titles), 4)
    down = -(-len(titles) // across)
    figure.set_size_inches(2.2 + 3.1 * across, down * max(1.2 + 0.34 * len(names), 2.4) + 0.7)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    at = {(cell["row"], cell["column"]): cell for cell in cells}
    told = False
    for axes, column in zip(grid.flat, titles, strict=False):
        base = at.get((reference, column))
        axes.axvline(0.0, color=GREY, linewidth=1)
        for place, name in enumerate(names):
            cell = at.get((name, column))
            if cell is not None and base is not None:
                told = _gain(axes, cell, base, place) or told
        axes.set_title(textwrap.fill(shortened(column, 2 * NAME), NAME), fontsize=9, parse_math=False)
        axes.grid(visible=True, axis="x", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), [shortened(name, NAME) for name in names], parse_math=False)
    for axes in list(grid.flat)[len(titles) :]:
        axes.set_visible(False)
    label = f"difference to {reference} in {cells[0]['unit']['points']}: mean and 95% interval over seeds, | each seed"
    label = textwrap.fill(label, int(SMALL_LETTERS * figure.get_figwidth()))
    if told:
        _paper_legend(figure, label)
    else:
        figure.supxlabel(label, fontsize=9)


def _gain(axes: Axes, cell: Cell, base: Cell, place: int) -> bool:
    """Draw one row of a panel; return whether the paper's number is in it."""
    from studygroup.reporting.student_t import interval

    by_seed = [value - base["by_seed"][seed] for seed, value in cell["by_seed"].items() if seed in base["by_seed"]]
    if by_seed:
        mean = sum(by_seed) / len(by_seed)
        reach = interval(by_seed)
        if reach is not None:
            axes.errorbar(mean, place, xerr=(reach[1] - reach[0]) / 2, fmt="none", color=COLOURS[0], capsize=3, linewidth=1.5)
        axes.plot(mean, place, "o", color=COLOURS[0], markersize=6)
        axes.plot(by_seed, [place + 0.25] * len(by_seed), "|", color=COLOURS[0], markersize=5)
    else:
        axes.text(0.5, place, "no run", transform=axes.get_yaxis_transform(), fontsize=7, color="0.55", ha="center", va="center")
    if cell["published"] is None or base["published"] is None:
        return False
    axes.plot(cell["published"] - base["published"], place, "D", color=COLOURS[1], markerfacecolor="white", markersize=6, zorder=3)
    return True


def _paper_legend(figure: Figure, title: str) -> None:
    """Explain the marks below the panels, under the title of their common axis."""
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[
            Line2D([], [], color=COLOURS[0], marker="o", linestyle="", label="measured"),
            Line2D([], [], color=COLOURS[1], marker="D", linestyle="", markerfacecolor="white", label=PAPER),
        ],
        loc="outside lower center",
        title=title,
        title_fontsize=9,
        ncols=2,
        frameon=False,
        fontsize=8,
    )


def _lines(figure: Figure, study: Mapping[str, Any]) -> None:
    """Draw the cells of each row over their x; a second block has an axis of its own on the right."""
    found, spec = blocks(study), study["figure"]
    groups = [[name for name in group if name in found] for group in spec["blocks"] or [[name] for name in found]]
    groups = [group for group in groups if group]
    figure.set_size_inches(1.4 + 4.6 * len(groups), 4.3)
    labels = spec["x_label"].split("|")
    for number, (axes, group) in enumerate(zip(figure.subplots(1, len(groups), squeeze=False).flat, groups, strict=True)):
        many = len(group) > 1
        for order, name in enumerate(group):
            own = axes if order == 0 else axes.twinx()
            _curves(own, found[name], offset=order if many else 0)
            unit = found[name][0]["unit"]["name"]
            own.set_ylabel(unit.capitalize(), color=COLOURS[order] if many else "black")
            own.spines["top"].set_visible(False)
        if len(groups) > 1:
            axes.set_title(shortened(group[0].partition(", ")[2] if many else group[0], NAME + 12), fontsize=10, parse_math=False)
        if spec["log"]:
            axes.set_xscale("log", base=2)
        ticks = sorted({(cell["x"], cell["column"]) for cell in found[group[0]]})
        axes.set_xticks([x for x, _ in ticks], [f"{x:g}" for x, _ in ticks], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel(labels[min(number, len(labels) - 1)])
        axes.grid(visible=True, color="0.92")
        if not many:
            axes.spines["right"].set_visible(False)
            axes.legend(fontsize=8, frameon=False)
            _paper_curve(axes, found[group[0]])


def _curves(axes: Axes, cells: Sequence[Cell], *, offset: int) -> None:
    """Draw a curve per row, with one standard deviation of each point.

    The verdicts' intervals are of differences by seed, which share a split: those of the points themselves would be wider.
    """
    for order, row in enumerate(distinct(cells, "row")):
        own = [cell for cell in cells if cell["row"] == row and cell["mean"] is not None]
        colour, marker = COLOURS[(order + offset) % len(COLOURS)], MARKERS[(order + offset) % len(MARKERS)]
        places, means = [cell["x"] for cell in own], [cell["mean"] for cell in own]
        axes.plot(places, means, "--" if offset else "-", marker=marker, color=colour, markersize=5, linewidth=1.5, label=row)
        axes.errorbar(
            places, means, yerr=[cell["std"] or 0.0 for cell in own], fmt="none", color=colour, capsize=2, elinewidth=0.8, alpha=0.6
        )


def _paper_curve(axes: Axes, cells: Sequence[Cell]) -> None:
    """Draw the published curve with an axis of its own that spans as much: data sets differ in level, and shapes are compared."""
    told = [cell for cell in cells if cell["published"] is not None]
    if not told:
        return
    right = axes.twinx()
    right.plot(
        [cell["x"] for cell in told], [cell["published"] for cell in told], "D:", color=COLOURS[1], markerfacecolor="white", markersize=5
    )
    right.set_ylabel(f"{PAPER} {told[0]['unit']['name']}", color=COLOURS[1])
    right.spines["top"].set_visible(False)
    span = max(limits[1] - limits[0] for limits in (axes.get_ylim(), right.get_ylim()))
    for own in (axes, right):
        low, high = own.get_ylim()
        own.set_ylim((low + high - span) / 2, (low + high + span) / 2)


def _bars(figure: Figure, study: Mapping[str, Any]) -> None:
    """Draw the cells of each column side by side, the paper's as diamonds."""
    cells = study["cells"]
    names, titles = distinct(cells, "row"), distinct(cells, "column")
    figure.set_size_inches(2.0 + 2.2 * len(titles), 4.0)
    axes = figure.subplots()
    width = 0.8 / len(names)
    for order, name in enumerate(names):
        for group, column in enumerate(titles):
            cell = next((cell for cell in cells if cell["row"] == name and cell["column"] == column), None)
            if cell is None:
                continue
            place, label = group - 0.4 + (order + 0.5) * width, name if group == 0 else "_"
            if cell["mean"] is not None:
                colour = COLOURS[order % len(COLOURS)]
                axes.bar(place, cell["mean"], width * 0.94, yerr=cell["std"], capsize=3, color=colour, alpha=0.85, label=label)
            if cell["published"] is not None:
                paper = PAPER if order == group == 0 else "_"
                axes.plot(place, cell["published"], "D", color="black", markerfacecolor="white", markersize=6, label=paper)
    axes.set_xticks(range(len(titles)), [shortened(name, NAME) for name in titles], fontsize=8, parse_math=False)
    axes.set_ylabel(f"{cells[0]['unit']['name']}, mean and one standard deviation over seeds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def _scatter(figure: Figure, study: Mapping[str, Any]) -> None:
    """Draw one column of each row against the other one."""
    cells = blocks(study)[""]
    first, second = distinct(cells, "column")[:2]
    figure.set_size_inches(5.2, 4.8)
    axes = figure.subplots()
    at = {(cell["row"], cell["column"]): cell for cell in cells}
    for name in distinct(cells, "row"):
        x, y = at.get((name, first)), at.get((name, second))
        if x is None or y is None or x["mean"] is None or y["mean"] is None:
            continue
        axes.errorbar(
            x["mean"], y["mean"], xerr=_reach(x), yerr=_reach(y), fmt="o", color=COLOURS[0], ecolor="0.7", elinewidth=1, markersize=6
        )
        axes.annotate(
            shortened(name, NAME), (x["mean"], y["mean"]), xytext=(5, 5), textcoords="offset points", fontsize=9, parse_math=False
        )
    unit = cells[0]["unit"]["name"]
    axes.set_xlabel(shortened(f"{first}: {unit}", NAME + 12), parse_math=False)
    axes.set_ylabel(shortened(f"{second}: {unit}", NAME + 12), parse_math=False)
    axes.grid(visible=True, color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def _reach(cell: Cell) -> float | None:
    return None if cell["std"] is None else float(cell["std"])
