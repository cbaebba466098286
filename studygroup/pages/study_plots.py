"""The figure of a study with marks that answer to the pointer: differences, lines, bars or a scatter; a map is only drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from studygroup.escape import one_line, shortened
from studygroup.pages.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Bar, Key, Label, Line, Plot, Point, Rule, css
from studygroup.pages.scales import Scale, Tick, padded
from studygroup.pages.tables import Cell, Column, Row, Table, number_cell, strip
from studygroup.reporting.student_t import interval
from studygroup.reporting.study import block_title, blocks, distinct

NumberCell = Mapping[str, Any]
PAPER = ", the paper's"


def told(cell: NumberCell) -> str:
    """Return what is said of a cell: its mean with the interval, and the paper's number."""
    digits = cell["unit"]["digits"]
    lines = [f"{one_line(cell['row'])}, {one_line(cell['column'])}"]
    if cell["mean"] is not None:
        reach = "" if cell["low"] is None else f" [{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"
        lines.append(f"{cell['mean']:.{digits}f}{reach}")
    if cell["published"] is not None:
        lines.append(f"paper: {cell['published']:.{digits}f}")
    return "\n".join(lines)


def gains(study: Mapping[str, Any]) -> list[Table]:
    """Return a table for each column with the difference of every row to the reference, ours and the paper's."""
    if study["figure"]["kind"] != "gains":
        return []
    reference, found = study["figure"]["reference"], []
    for name, cells in blocks(study).items():
        at = {(cell["row"], cell["column"]): cell for cell in cells}
        for column in distinct(cells, "column"):
            base = at.get((reference, column))
            rows = [at[row, column] for row in distinct(cells, "row") if row != reference and (row, column) in at]
            if base is not None and rows:
                title = f"Gain over {one_line(reference)}: {one_line(column)}" + (f", {one_line(name)}" if name else "")
                found.append(_gains(title, base, rows))
    return found


def _gains(title: str, base: NumberCell, cells: Sequence[NumberCell]) -> Table:
    differences = []
    for cell in cells:
        by_seed = [value - base["by_seed"][seed] for seed, value in cell["by_seed"].items() if seed in base["by_seed"]]
        paper = None if cell["published"] is None or base["published"] is None else cell["published"] - base["published"]
        differences.append((cell, by_seed, interval(by_seed), paper))
    every = [v for _, by_seed, reach, paper in differences for v in (*by_seed, *(reach or ()), *([] if paper is None else [paper]))]
    limits = padded([*every, 0.0])
    rows = []
    for cell, by_seed, reach, paper in differences:
        mean = sum(by_seed) / len(by_seed) if by_seed else None
        low, high = reach or (None, None)
        drawing = None if mean is None else strip(low, high, mean, by_seed, limits, "c0", paper)
        text = "–" if mean is None else f"{mean:+.2f}" + ("" if low is None else f" [{low:+.2f}, {high:+.2f}]")
        rows.append(
            Row(
                [
                    Cell(one_line(cell["row"])),
                    Cell("" if drawing else "no run", -math.inf if mean is None else mean, strip=drawing),
                    number_cell(mean, text),
                    number_cell(paper, "–" if paper is None else f"{paper:+.2f}", css="paper"),
                ]
            )
        )
    columns = [
        Column("", number=False),
        Column("gain", about="mean, 95 % interval, a stroke for each seed; the diamond is the paper's"),
        Column(f"in {cells[0]['unit']['points']}"),
        Column("paper"),
    ]
    return Table(title, columns, rows)


def plots(study: Mapping[str, Any]) -> list[Plot]:
    """Return the plots of a figure of lines, bars or a scatter; none of another kind."""
    spec, found = study["figure"], blocks(study)
    if spec["kind"] == "lines":
        labels = spec["x_label"].split("|")
        groups = {name: place for place, group in enumerate(spec["blocks"]) for name in group}
        return [
            _lines(block_title(name, cells), cells, labels[min(groups.get(name, place), len(labels) - 1)], log=spec["log"])
            for place, (name, cells) in enumerate(found.items())
        ]
    if spec["kind"] == "bars":
        return [_bars(block_title(name, cells), cells) for name, cells in found.items()]
    if spec["kind"] == "scatter":
        return [plot for cells in found.values() for plot in _scatter(cells)]
    return []


def _vertical(cells: Sequence[NumberCell]) -> Scale:
    """Return the vertical axis: all means and published numbers, and of the intervals what does not squeeze them together."""
    means = [cell[key] for cell in cells for key in ("mean", "published") if cell[key] is not None]
    if not means:
        return Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    low, high = padded(means)
    lows, highs = ([cell[key] for cell in cells if cell[key] is not None] for key in ("low", "high"))
    room = high - low
    low, high = min([low, max(min(lows, default=low), low - room)]), max([high, min(max(highs, default=high), high + room)])
    return Scale(low, high, HEIGHT - BOTTOM, TOP)


def _whisker(y: Scale, at: float, cell: NumberCell, css_class: str, series: str) -> Rule:
    """Draw the interval of a cell, as far as it is on the axis."""
    low, high = (min(max(cell[key], y.low), y.high) for key in ("low", "high"))
    return Rule(at, y(low), at, y(high), css_class, series)


def _lines(title: str, cells: Sequence[NumberCell], x_label: str, *, log: bool) -> Plot:
    """Draw a curve per row over its x, with the interval of each point, and the paper's."""
    known = [cell for cell in cells if cell["x"] is not None]
    places = sorted({cell["x"] for cell in known})
    if not places:
        return Plot(title)
    log = log and places[0] > 0
    low, high = (places[0] / 1.1, places[-1] * 1.1) if log else padded(places)
    x, y = Scale(low, high, LEFT, WIDTH - RIGHT, log=log), _vertical(cells)
    lines, points, rules, keys = [], [], [], []
    for order, row in enumerate(distinct(known, "row")):
        own = sorted((cell for cell in known if cell["row"] == row), key=lambda cell: float(cell["x"]))
        name, colour = one_line(row), css(order)
        keys.append(Key(name, colour))
        ours = [cell for cell in own if cell["mean"] is not None]
        lines.append(Line(name, colour, [x(cell["x"]) for cell in ours], [y(cell["mean"]) for cell in ours], []))
        for cell in ours:
            at = x(cell["x"])
            if cell["low"] is not None:
                rules.append(_whisker(y, at, cell, f"line thin {colour}", name))
            points.append(Point(at, y(cell["mean"]), colour, told(cell), name))
        theirs = [cell for cell in own if cell["published"] is not None]
        if theirs:
            keys.append(Key(name + PAPER, f"{colour} d1"))
            spots = [(x(cell["x"]), y(cell["published"])) for cell in theirs]
            lines.append(Line(name + PAPER, f"{colour} d1", [a for a, _ in spots], [b for _, b in spots], []))
            points += [Point(a, b, colour, told(cell), name + PAPER, "diamond") for (a, b), cell in zip(spots, theirs, strict=True)]
    return Plot(
        title,
        about=f"{title}: {len(lines)} curves",
        x_label=x_label,
        x_ticks=[Tick(x(place), f"{place:g}") for place in places],
        y_ticks=y.ticks(5),
        lines=lines,
        points=points,
        rules=rules,
        legend=keys,
        note="Mean and 95 % interval over seeds, as far as the axis reaches.",
    )


def _bars(title: str, cells: Sequence[NumberCell]) -> Plot:
    """Draw the cells of each column side by side, with the paper's as diamonds."""
    rows, columns = distinct(cells, "row"), distinct(cells, "column")
    at = {(cell["row"], cell["column"]): cell for cell in cells}
    width = max(WIDTH, LEFT + RIGHT + 18.0 * len(cells))
    every = [cell[key] for cell in cells for key in ("mean", "published") if cell[key] is not None]
    y = Scale(min([0.0, *every]), 1.1 * max(every, default=0.0) or 1.0, HEIGHT - BOTTOM, TOP)
    group = (width - LEFT - RIGHT) / len(columns)
    own = 0.8 * group / len(rows)
    bars, rules, points = [], [], []
    for order, row in enumerate(rows):
        for place, column in enumerate(columns):
            cell = at.get((row, column))
            if cell is None:
                continue
            left = LEFT + group * place + 0.1 * group + own * order
            middle = round(left + own / 2, 1)
            if cell["mean"] is not None:
                top = y(max(cell["mean"], 0.0))
                bars.append(
                    Bar(round(left, 1), top, round(own * 0.92, 1), round(HEIGHT - BOTTOM - top, 1), css(order), told(cell), one_line(row))
                )
                if cell["low"] is not None:
                    rules.append(_whisker(y, middle, cell, "whisker", one_line(row)))
            if cell["published"] is not None:
                points.append(Point(middle, y(cell["published"]), "ink", told(cell), one_line(row), "diamond"))
    return Plot(
        title,
        about=f"{title}: {len(bars)} bars",
        x_ticks=[
            Tick(round(LEFT + group * (place + 0.5), 1), shortened(column, int(group / 7) or 1)) for place, column in enumerate(columns)
        ],
        y_ticks=y.ticks(5),
        bars=bars,
        rules=rules,
        points=points,
        legend=[Key(one_line(row), css(order)) for order, row in enumerate(rows)],
        note="Mean and 95 % interval over seeds; diamonds are the paper's.",
        width=width,
    )


def _scatter(cells: Sequence[NumberCell]) -> list[Plot]:
    """Draw one column of each row against the other one."""
    columns = distinct(cells, "column")
    if len(columns) < 2:
        return []
    at = {(cell["row"], cell["column"]): cell for cell in cells}
    pairs = [(row, at.get((row, columns[0])), at.get((row, columns[1]))) for row in distinct(cells, "row")]
    known = [(row, a, b) for row, a, b in pairs if a is not None and b is not None and a["mean"] is not None and b["mean"] is not None]
    x = Scale(*padded([a["mean"] for _, a, _ in known], 0.12), LEFT, WIDTH - RIGHT)
    y = Scale(*padded([b["mean"] for _, _, b in known], 0.12), HEIGHT - BOTTOM, TOP)
    points, labels = [], []
    for order, (row, a, b) in enumerate(known):
        px, py = x(a["mean"]), y(b["mean"])
        told_of = [f"{one_line(cell['column'])}: {cell['mean']:.{cell['unit']['digits']}f}" for cell in (a, b)]
        tip = "\n".join([one_line(row), *told_of])
        points.append(Point(px, py, css(order), tip, one_line(row), size=6))
        end = px > 0.7 * WIDTH
        labels.append(Label(px - 9 if end else px + 9, py + 4, shortened(row, 22), "small", "end" if end else "start", one_line(row)))
    return [
        Plot(
            f"{one_line(columns[1])} against {one_line(columns[0])}",
            x_label=one_line(columns[0]),
            y_label=one_line(columns[1]),
            x_ticks=x.ticks(5),
            y_ticks=y.ticks(5),
            points=points,
            labels=labels,
        )
    ]
