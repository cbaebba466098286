"""Plots as data: places are computed here, the templates only write them down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studygroup.pages.scales import Scale, Tick, padded, whole

WIDTH, HEIGHT = 460.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 44.0
MOST = 240
"""Points of a curve; of longer ones some are left out."""
CYCLE = 8
"""Number of colours of series; further ones are dashed."""


@dataclass(frozen=True)
class Key:
    """An entry of a legend, which shows and hides its series.

    Attributes:
        name: of the series.
        css: class of its colour.
        shown: whether it is visible at first.
        note: beside its name.
    """

    name: str
    css: str
    shown: bool = True
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        series: its key in the legend.
        css: class of its colour.
        ys: places of its points, None where there is none.
        texts: its numbers as they are shown.
        band: outline of the area around it; empty for none.
    """

    series: str
    css: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    texts: Sequence[str]
    band: str = ""

    @property
    def path(self) -> str:
        """The curve as SVG draws it."""
        return path(self.xs, self.ys)

    @property
    def single(self) -> tuple[float, float] | None:
        """The place of its only point; None if it has none or several."""
        found = [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if y is not None]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Point:
    """A mark with what is said of it; `shape` is circle, diamond, ring or tick."""

    x: float
    y: float
    css: str
    tip: str
    series: str = ""
    shape: str = "circle"
    size: float = 5.0


@dataclass(frozen=True)
class Bar:
    """A rectangle with what is said of it."""

    x: float
    y: float
    width: float
    height: float
    css: str
    tip: str = ""
    series: str = ""


@dataclass(frozen=True)
class Rule:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    css: str = "rule"
    series: str = ""


@dataclass(frozen=True)
class Label:
    """A text; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    css: str = ""
    anchor: str = "start"
    series: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        title: above it.
        about: what it shows, for those who do not see it.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        x_names: what each place of the curves is called, by place.
        note: below it.
        legend: its own legend; empty if it has none, or shares one with others.
        axis: whether the horizontal axis is drawn.
    """

    title: str
    about: str = ""
    x_label: str = ""
    y_label: str = ""
    x_ticks: Sequence[Tick] = ()
    y_ticks: Sequence[Tick] = ()
    lines: Sequence[Line] = ()
    points: Sequence[Point] = ()
    bars: Sequence[Bar] = ()
    rules: Sequence[Rule] = ()
    labels: Sequence[Label] = ()
    x_names: Mapping[float, str] = field(default_factory=dict)
    note: str = ""
    legend: Sequence[Key] = ()
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = RIGHT
    top: float = TOP
    bottom: float = BOTTOM
    axis: bool = True

    @property
    def data(self) -> dict[str, Any]:
        """What the pointer and the keyboard read off the curves."""
        return {
            "x": list(self.x_names),
            "names": list(self.x_names.values()),
            "lines": [
                {"series": line.series, "css": line.css, "y": list(line.ys), "text": list(line.texts)}
                for line in self.lines
                if list(line.xs) == list(self.x_names)
            ],
        }


def css(number: int) -> str:
    """Return the class of the colour and the dashes of a series."""
    return f"c{number % CYCLE}" + (f" d{number // CYCLE % 3}" if number >= CYCLE else "")


def path(xs: Sequence[float], ys: Sequence[float | None]) -> str:
    """Return a curve with gaps as SVG draws it."""
    parts, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if y is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x:g} {y:g}")
        pen = "L"
    return "".join(parts)


def area(xs: Sequence[float], low: Sequence[float | None], high: Sequence[float | None]) -> str:
    """Return the outline of an area; empty if a place is missing."""
    if len(xs) < 2 or None in low or None in high:
        return ""
    return path([*xs, *reversed(list(xs))], [*high, *reversed(list(low))]) + "Z"


def thinned(count: int, kept: Sequence[int] = ()) -> list[int]:
    """Return the places of the points of a long curve that are drawn, with the last one and those of `kept`."""
    step = -(-count // MOST)
    return sorted({*range(0, count, max(step, 1)), *([count - 1] if count else []), *(place for place in kept if 0 <= place < count)})


def curves(
    title: str,
    y_label: str,
    epochs: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    colours: Mapping[str, str],
    *,
    text: Callable[[float], str],
    bands: Mapping[str, Sequence[float]] | None = None,
    marked: tuple[int, str] | None = None,
    hidden: Sequence[str] = (),
    late: bool = False,
    note: str = "",
    x_label: str = "epoch",
    limits: tuple[float | None, float | None] = (None, None),
    least: float = 0.0,
) -> Plot:
    """Draw curves over the epochs.

    Args:
        title: of the plot.
        y_label: of the vertical axis.
        epochs: at which there are numbers.
        series: numbers by name, None where there is none.
        colours: class of each series.
        text: formats a number.
        bands: half the height of the area around each point.
        marked: epoch and series that are marked.
        hidden: series that are not visible at first.
        late: whether the vertical axis shows the range of the later three quarters, where differences are small.
        note: below the plot.
        x_label: of the horizontal axis.
        limits: numbers that the vertical axis does not go beyond.
        least: range that the vertical axis shows at least.
    """
    kept = thinned(len(epochs), [epochs.index(marked[0])] if marked is not None and marked[0] in epochs else [])
    shown = [epochs[place] for place in kept]
    found = {name: [_finite(numbers[place]) for place in kept] for name, numbers in series.items()}
    first = len(kept) // 4 if late else 0
    low, high = padded([v for numbers in found.values() for v in numbers[first:] if v is not None], least=least)
    low = low if limits[0] is None else max(low, limits[0])
    high = high if limits[1] is None else min(high, limits[1])
    start, end = (shown[0], shown[-1]) if len(shown) > 1 else ((shown[0] - 1, shown[0] + 1) if shown else (0, 1))
    x, y = Scale(start, end, LEFT, WIDTH - RIGHT, integers=True), Scale(low, high, HEIGHT - BOTTOM, TOP)
    xs = [x(epoch) for epoch in shown]
    lines = []
    for name, numbers in found.items():
        band = ""
        if bands is not None and name in bands:
            reach = [bands[name][place] for place in kept]
            ends = [[None if v is None else y(v + sign * r) for v, r in zip(numbers, reach, strict=True)] for sign in (-1, 1)]
            band = area(xs, *ends)
        ys = [None if v is None else y(v) for v in numbers]
        lines.append(Line(name, colours[name], xs, ys, ["–" if v is None else text(v) for v in numbers], band))
    points, rules = [], []
    if marked is not None and marked[0] in shown:
        place = shown.index(marked[0])
        rules.append(Rule(xs[place], TOP, xs[place], HEIGHT - BOTTOM, "marked"))
        value = found.get(marked[1], [None] * len(shown))[place]
        if value is not None:
            tip = f"selected: {marked[1]}, epoch {marked[0]}\n{text(value)}"
            points.append(Point(xs[place], y(value), colours[marked[1]], tip, marked[1], "ring", 7))
    return Plot(
        title,
        about=f"{title}: {y_label} over {x_label}, {len(series)} curves",
        x_label=x_label,
        y_label=y_label,
        x_ticks=x.ticks(5) if len(shown) > 5 else [Tick(x(epoch), whole(epoch)) for epoch in shown],
        y_ticks=y.ticks(5),
        lines=lines,
        points=points,
        rules=rules,
        x_names={place: f"{x_label} {epoch:,}" for place, epoch in zip(xs, shown, strict=True)},
        note=note,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
