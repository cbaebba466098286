"""Plot of runs: accuracy, losses and diversity by epoch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.escape import shortened
from studygroup.reporting.colours import COLOURS, KINDS, LINES, kind
from studygroup.reporting.comparison_tables import name
from studygroup.reporting.leaderboard import grouped, label
from studygroup.runs.reader import RunRecord, number, read_runs, values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Epoch = Mapping[str, object]
Measure = Callable[[RunRecord, Epoch], float | None]
Group = tuple[list[RunRecord], str]
# Without black and green, which are the baseline's and the teachers'.
CURVES = tuple(colour for colour in COLOURS if colour not in ("#000000", KINDS["teacher"][1]))


def draw(runs: Sequence[str | Path], path: str | Path, rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """Draw the curves of some runs: mean over the seeds of each group, with a band of one sample standard deviation.

    Args:
        runs: run folders, finished or not.
        path: of the PNG file to write.
        rows: of the comparison that the runs belong to, if to one: its names are taken, its baseline is black, its teachers are dotted.

    Raises:
        UserError: a folder holds no run.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = grouped(read_runs(runs))
    styles = _styles(groups, rows)
    several_data = len({members[0].name("data") for members, _ in groups}) > 1
    names = [
        style.name or (f"{members[0].name('data')}: " if several_data else "") + label(members[0], settings)
        for (members, settings), style in zip(groups, styles, strict=True)
    ]
    names = [shortened(name, 60).replace("$", r"\$") for name in names]
    columns = 2 if max(map(len, names)) > 30 else 4
    legend_rows = math.ceil(len(groups) / columns)
    height = 6.6 + 0.2 * legend_rows
    figure = Figure(figsize=(12.5, height), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3, squeeze=False)
    curves = [_panel(panel, groups, styles, *measure) for measure, panel in zip(_accuracies(), axes[0], strict=True)]
    _same_range(axes[0], [curve for panel in curves for curve in panel])
    for measure, panel in zip(_others(), axes[1], strict=True):
        _panel(panel, groups, styles, *measure)
    figure.legend(axes[0][0].get_lines(), names, loc="lower center", ncols=min(columns, len(groups)), frameon=False, fontsize=9)
    data = sorted({members[0].name("data") for members, _ in groups} - {""})
    seeds = sorted({len(members) for members, _ in groups})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    many = "1 seed" if seeds == [1] else f"{count} seeds: mean and one standard deviation"
    figure.suptitle(f"{shortened(', '.join(data), 100)} ({many})" if data else many, fontsize=11, parse_math=False)
    figure.tight_layout(rect=(0, (0.1 + 0.2 * legend_rows) / height, 1, 1), h_pad=2.0, w_pad=2.0)
    figure.savefig(path)


def _accuracies() -> list[tuple[str, str, Measure]]:
    def of_members(record: RunRecord, epoch: Epoch) -> list[float]:
        holdout = values(epoch, "holdout")
        return [100 * holdout[name] for name in record.candidates if name in holdout]

    def best(record: RunRecord, epoch: Epoch) -> float | None:
        return max(of_members(record, epoch), default=None)

    def mean(record: RunRecord, epoch: Epoch) -> float | None:
        found = of_members(record, epoch)
        return statistics.fmean(found) if found else None

    def ensemble(_: RunRecord, epoch: Epoch) -> float | None:
        found = values(epoch, "holdout").get("ensemble")
        return None if found is None else 100 * found

    unit = "hold-out accuracy (%)"
    return [("Best member of each epoch", unit, best), ("Mean of the members", unit, mean), ("Ensemble of the members", unit, ensemble)]


def _others() -> list[tuple[str, str, Measure]]:
    def training(_: RunRecord, epoch: Epoch) -> float | None:
        losses = values(epoch, "losses")
        members = {name.partition("/")[0] for name in losses}
        return sum(losses.values()) / len(members) if members else None

    def held_out(record: RunRecord, epoch: Epoch) -> float | None:
        found = values(epoch, "holdout_cross_entropy")
        chosen = [found[name] for name in record.candidates if name in found]
        return statistics.fmean(chosen) if chosen else None

    def diversity(_: RunRecord, epoch: Epoch) -> float | None:
        return number(epoch, "diversity")

    return [
        ("Training loss, all terms", "loss per member", training),
        ("Hold-out loss, mean of the members", "cross-entropy (nats)", held_out),
        ("Diversity of the members", "mean distance of predictions", diversity),
    ]


@dataclass(frozen=True)
class Style:
    """Colour and line of a curve, and its name if a comparison gives one."""

    colour: str
    line: str
    width: float = 1.6
    name: str = ""


def _styles(groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> list[Style]:
    """Return the style of each group: the baseline's and the teachers' are the same in all pictures, the others' are told apart."""
    rows_by_run = {Path(run).name: row for row in rows for run in row["runs"]}
    styles, used = [], 0
    for members, _ in groups:
        row = rows_by_run.get(members[0].folder.name)
        method = members[0].name("method")
        if row is not None and row["role"] in ("baseline", "teacher"):
            colour = KINDS[kind(row)][1]
            styles.append(Style(colour, ":" if row["role"] == "teacher" else "-", 2.2, name(row)))
            continue
        alone = row is None and method == "baseline" and not any(style.colour == KINDS["alone"][1] for style in styles)
        if alone:
            styles.append(Style(KINDS["alone"][1], "-", 2.2))
            continue
        styles.append(Style(CURVES[used % len(CURVES)], LINES[used // len(CURVES) % len(LINES)], name=name(row) if row else ""))
        used += 1
    return styles


def _panel(axes: Axes, groups: Sequence[Group], styles: Sequence[Style], title: str, unit: str, measure: Measure) -> list[list[float]]:
    """Draw a panel; return the mean curve of each group."""
    from matplotlib.ticker import MaxNLocator

    drawn = []
    for (members, _), style in zip(groups, styles, strict=True):
        colour = style.colour
        epochs, means, stds = mean_curve(members, measure)
        drawn.append(means)
        marker = "o" if len(epochs) == 1 else ""
        axes.plot(epochs, means, color=colour, linestyle=style.line, linewidth=style.width, marker=marker)
        if len(members) > 1:
            low = [mean - std for mean, std in zip(means, stds, strict=True)]
            high = [mean + std for mean, std in zip(means, stds, strict=True)]
            axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not any(drawn):
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="0.5")
        axes.set_xticks([])
        axes.set_yticks([])
    return drawn


def mean_curve(members: Sequence[RunRecord], measure: Measure) -> tuple[list[int], list[float], list[float]]:
    """Return the epochs (from 1) in which all runs of a group have the value, with its mean and sample standard deviation."""
    by_run = []
    for record in members:
        found = ((int(str(epoch["epoch"])), measure(record, epoch)) for epoch in record.epochs)
        by_run.append({epoch: value for epoch, value in found if value is not None and math.isfinite(value)})
    epochs = sorted(set.intersection(*(set(found) for found in by_run)))
    columns = [[found[epoch] for found in by_run] for epoch in epochs]
    stds = [statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns]
    return epochs, [statistics.fmean(column) for column in columns], stds


def _same_range(panels: Sequence[Axes], curves: Sequence[Sequence[float]]) -> None:
    """Set the same y range for panels of the same unit: that of the last three quarters of the curves, where differences are small."""
    late = [value for curve in curves for value in curve[len(curve) // 4 :]]
    if late:
        low, high = min(late), max(late)
        margin = max(0.08 * (high - low), 0.5)
        for panel in panels:
            panel.set_ylim(max(low - margin, 0.0), min(high + margin, 100.5))
