"""Map of where a group pays: which method is best, and what CGL gains, over the number of updates and the size of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studygroup.escape import shortened
from studygroup.reporting.colours import COLOURS
from studygroup.reporting.student_t import interval, quantile
from studygroup.reporting.study import Cell, blocks, distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALONE, GROUP = "Alone", "CGL"
HATCH = "0.35"
FEWEST = 2
"""Seeds that an interval takes."""
FINE = 80
"""Points of the border's grid along each axis."""
Place = tuple[float, float]


def draw_map(figure: Figure, study: Mapping[str, Any]) -> None:
    """Draw for each data set and network the best method of each cell, and what CGL gains over the network alone, with its border."""
    found = blocks(study)
    figure.set_size_inches(10.5, 0.9 + 3.6 * len(found))
    grid = figure.subplots(len(found), 2, squeeze=False)
    methods = distinct(study["cells"], "row")
    for (left, right), (name, cells) in zip(grid, found.items(), strict=True):
        for axes in (left, right):
            _axes(axes, cells, study["figure"]["x_label"])
        _best(left, cells, methods)
        _gain(figure, right, cells)
        left.set_title(f"{shortened(name, 40)}: best method", fontsize=10, parse_math=False)
        right.set_title(f"{shortened(name, 40)}: CGL minus alone, points", fontsize=10, parse_math=False)
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=COLOURS[order % len(COLOURS)], alpha=0.75, label=method) for order, method in enumerate(methods)]
    handles.append(Line2D([], [], color="black", linewidth=2, label="border"))
    handles.append(Patch(facecolor="none", edgecolor=HATCH, hatch="////", linewidth=0, label="the border's 95% interval"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _axes(axes: Axes, cells: Sequence[Cell], label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    boxes = list(_boxes(cells).values())
    axes.set_xlim(min(box[0] for box in boxes), max(box[1] for box in boxes))
    axes.set_ylim(min(box[2] for box in boxes), max(box[3] for box in boxes))
    columns, sizes = sorted(distinct(cells, "x")), sorted(distinct(cells, "y"))
    axes.set_yticks(sizes, [f"{size:,.0f}" for size in sizes], fontsize=8)
    low, high, many = columns[0], columns[-1], len(columns) > 6  # rounding to epochs makes them differ a little from size to size
    shown = [low, (low * high) ** 0.5, high] if many else columns
    axes.set_xticks(shown, [f"{updates:,.0f}" for updates in shown], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel("training samples")


def _boxes(cells: Sequence[Cell]) -> dict[Place, tuple[float, float, float, float]]:
    """Return left, right, bottom and top of each cell, half-way to its neighbours on logarithmic axes."""
    places = dict.fromkeys((cell["x"], cell["y"]) for cell in cells)
    sizes = sorted({y for _, y in places})
    found = {}
    for x, y in places:
        row = sorted(other for other, height in places if height == y)
        found[x, y] = (*_ends(row, x), *_ends(sizes, y))
    return found


def _ends(values: Sequence[float], value: float) -> tuple[float, float]:
    place = values.index(value)
    step = (values[1] / values[0]) if len(values) > 1 else 4.0
    before = values[place - 1] if place else value / step
    after = values[place + 1] if place + 1 < len(values) else value * (value / values[place - 1] if place else step)
    return (value * before) ** 0.5, (value * after) ** 0.5


def _best(axes: Axes, cells: Sequence[Cell], methods: Sequence[str]) -> None:
    """Colour each cell by the method with the best mean."""
    from matplotlib.patches import Rectangle

    for place, (left, right, bottom, top) in _boxes(cells).items():
        own = [cell for cell in cells if (cell["x"], cell["y"]) == place and cell["mean"] is not None]
        if not own:
            continue
        best = max(own, key=lambda cell: float(cell["mean"]))
        colour = COLOURS[methods.index(best["row"]) % len(COLOURS)]
        axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor=colour, alpha=0.75, edgecolor="white"))
        axes.text(*place, f"{best['row']}\n{best['mean']:.1f}%", ha="center", va="center", fontsize=8)


def _gain(figure: Figure, axes: Axes, cells: Sequence[Cell]) -> None:
    """Colour each cell by what CGL gains over the network alone, and draw the border where that is nothing."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    by_place = differences(cells)
    means = {place: sum(by_seed.values()) / len(by_seed) for place, by_seed in by_place.items() if by_seed}
    most = max((abs(mean) for mean in means.values()), default=1.0) or 1.0
    shade = ScalarMappable(Normalize(-most, most), colormaps["RdBu"])
    for place, (left, right, bottom, top) in _boxes(cells).items():
        if place not in means:
            axes.text(*place, "no run", ha="center", va="center", fontsize=8, color="0.5")
            continue
        colour = colormaps["RdBu"](0.5 + 0.5 * means[place] / most)
        axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor=colour, edgecolor="white"))
        reach = interval(list(by_place[place].values()))
        around = "" if reach is None else f"\n± {(reach[1] - reach[0]) / 2:.1f}"
        dark = abs(means[place]) > 0.6 * most
        box = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
        text = f"{means[place]:+.1f}{around}"
        axes.text(*place, text, ha="center", va="center", fontsize=8, color="white" if dark else "black", bbox=box, zorder=3)
    figure.colorbar(shade, ax=axes, pad=0.02)
    fitted = border(by_place, axes.get_xlim(), axes.get_ylim())
    if fitted is None:
        return
    xs, ys, mean, low, high = fitted
    band = axes.contourf(xs, ys, ((low <= 0) & (high >= 0)).astype(float), levels=[0.5, 1.5], colors="none", hatches=["///"])
    band.set_edgecolor(HATCH)
    band.set_linewidth(0.0)
    if mean.min() < 0 < mean.max():
        axes.contour(xs, ys, mean, levels=[0.0], colors="black", linewidths=2)


def differences(cells: Sequence[Cell]) -> dict[Place, dict[int, float]]:
    """Return what CGL gains over the network alone at each place, by seed."""
    found: dict[Place, dict[int, float]] = {}
    for own in cells:
        if own["row"] == GROUP:
            place = own["x"], own["y"]
            alone = next(cell for cell in cells if cell["row"] == ALONE and (cell["x"], cell["y"]) == place)
            found[place] = {seed: value - alone["by_seed"][seed] for seed, value in own["by_seed"].items() if seed in alone["by_seed"]}
    return found


def border(by_place: Mapping[Place, Mapping[int, float]], x_range: Sequence[float], y_range: Sequence[float]) -> Any:
    """Fit a plane over the logarithms of both axes to each seed, and evaluate the planes' mean and interval on a grid.

    Args:
        by_place: (updates, samples) -> seed -> difference.
        x_range: of the grid.
        y_range: of the grid.

    Returns:
        Both axes of the grid, and arrays (FINE, FINE) of the mean over seeds and the ends of its 95% interval (Student's t); None with
        fewer than two seeds that have all places, or with places on one line.
    """
    import numpy as np

    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in by_place.values()))) if by_place else []
    places = np.log(np.array(list(by_place)))
    design = np.column_stack([np.ones(len(places)), places])
    if len(seeds) < FEWEST or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    xs, ys = (np.geomspace(limits[0], limits[1], FINE) for limits in (x_range, y_range))
    across, up = np.meshgrid(np.log(xs), np.log(ys))
    values = np.array([[by_place[place][seed] for seed in seeds] for place in by_place])
    planes = np.linalg.lstsq(design, values, rcond=None)[0]  # (3, seeds)
    fitted = planes[0] + across[..., None] * planes[1] + up[..., None] * planes[2]  # (FINE, FINE, seeds)
    mean = fitted.mean(axis=-1)
    reach = quantile(0.95, len(seeds) - 1) * fitted.std(axis=-1, ddof=1) / len(seeds) ** 0.5
    return xs, ys, mean, mean - reach, mean + reach
