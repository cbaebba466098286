"""Plot of what methods report of their steps beside losses: one panel per metric, one line per member or other subject."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from studygroup.escape import shortened
from studygroup.reporting.colours import COLOURS, LINES
from studygroup.reporting.curves import Epoch, mean_curve
from studygroup.reporting.leaderboard import grouped, label
from studygroup.runs.reader import RunRecord, read_runs, values

MOST_GROUPS = 12  # more rows than anybody looks at


def draw_metrics(runs: Sequence[str | Path], path: str | Path) -> bool:
    """Draw the metrics of some runs over epochs: a row per group of runs that differ in their seed only, of those that have metrics.

    Args:
        runs: run folders, finished or not.
        path: of the PNG file to write.

    Returns:
        Whether there is anything to draw; if not, nothing is written.

    Raises:
        UserError: a folder holds no run.
    """
    found = [(members, settings, metrics) for members, settings in grouped(read_runs(runs)) if (metrics := subjects(members))]
    if not found:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    found = found[:MOST_GROUPS]
    columns = max(len(metrics) for _, _, metrics in found)
    figure = Figure(figsize=(max(4.2 * columns, 6.0), 3.4 * len(found) + 0.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for row, (members, settings, metrics) in zip(figure.subfigures(len(found), 1, squeeze=False)[:, 0], found, strict=True):
        title = shortened(label(members[0], settings), 110)
        row.suptitle(f"{title}, {len(members)} seeds" if len(members) > 1 else title, fontsize=10, parse_math=False)
        for axes, (metric, names) in zip(row.subplots(1, columns, squeeze=False)[0], metrics.items(), strict=False):
            for number, name in enumerate(names):
                epochs, means, stds = mean_curve(members, partial(metric_of, f"{name}/{metric}" if name else metric))
                style = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number // len(COLOURS) % len(LINES)]}
                axes.plot(
                    epochs,
                    means,
                    linewidth=1.6,
                    marker="o" if len(epochs) == 1 else "",
                    label=(name or metric).replace("$", r"\$"),
                    **style,
                )
                if len(members) > 1:
                    low = [mean - std for mean, std in zip(means, stds, strict=True)]
                    high = [mean + std for mean, std in zip(means, stds, strict=True)]
                    axes.fill_between(epochs, low, high, color=style["color"], alpha=0.18, linewidth=0)
            axes.set_title(metric.replace("_", " "), fontsize=10, parse_math=False)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
            axes.grid(visible=True, color="0.9", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=8)
        for axes in row.axes[len(metrics) :]:
            axes.set_axis_off()
    figure.savefig(path)
    return True


def subjects(members: Iterable[RunRecord]) -> dict[str, list[str]]:
    """Return the metrics of some runs, each with the names of those that it is of: `{"promoted": ["student0", "student1"]}`."""
    names = sorted({name for record in members for epoch in record.epochs for name in values(epoch, "metrics")})
    found: dict[str, list[str]] = {}
    for name in names:
        subject, _, metric = name.rpartition("/")
        found.setdefault(metric, []).append(subject)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def metric_of(name: str, _: RunRecord, epoch: Epoch) -> float | None:
    """Return a metric of an epoch; None if it has none of this name."""
    return values(epoch, "metrics").get(name)
