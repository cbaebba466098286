"""Plots of a comparison: accuracy against costs, differences by seed, curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from studygroup.escape import shortened
from studygroup.pages.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Key, Label, Plot, Point, Rule, css, curves
from studygroup.pages.scales import Scale, padded
from studygroup.pages.tables import Matrix, Square, points
from studygroup.reporting.colours import KINDS, kind
from studygroup.reporting.comparison import LINEAR
from studygroup.reporting.comparison_tables import UNITS, name, operations, scored_on
from studygroup.runs.layout import RunFiles
from studygroup.runs.reader import RunRecord, number, section, values
from studygroup.runs.records import read_object

Row = Mapping[str, Any]
Records = Mapping[str, Mapping[int, RunRecord]]
SHOWN = 6
"""Variants whose curves are visible at first."""
LETTER, LINE = 6.6, 13.0  # width and height of a letter of a label


def css_of(row: Row) -> str:
    """Return the class of the colour that tells how a variant was trained."""
    if row["role"] == LINEAR:
        return "linear"
    found = kind(row)
    return "k-teacher" if found == "teacher" else found


def frontiers(result: Mapping[str, Any], records: Records) -> tuple[list[Plot], list[Key]]:
    """Return accuracy against the cost of training and of a prediction, and the legend of their colours."""
    rows = [row for row in result["rows"] if row["test"] is not None and row["role"] != LINEAR]
    scored = scored_on(result)
    training = [(row, row["flops"], row["test"], "circle") for row in rows if row["flops"]]
    prediction = []
    for row in rows:
        cost, students = inference(records.get(row["variant"], {}))
        if cost:
            prediction.append((row, cost, row["test"], "circle"))
            if row["ensemble_test"] is not None and students > 1:
                prediction.append((row, cost * students, row["ensemble_test"], "ring"))
    found = []
    note = "The dotted line joins those that nothing cheaper surpasses here; with few seeds it depends on chance."
    if training:
        found.append(_scatter("Accuracy against the cost of training", "operations of one run's training", training, scored, note))
    if prediction:
        text = "A ring is the ensemble of all students, at the cost of all of them. " + note
        found.append(_scatter("Accuracy against the cost of a prediction", "operations for one sample", prediction, scored, text))
    used = dict.fromkeys(css_of(row) for row in rows)
    words = {"k-teacher" if key == "teacher" else key: text for key, (text, _) in KINDS.items()}
    return found, [Key(words[one], one) for one in used if one in words]


def inference(runs: Mapping[int, RunRecord]) -> tuple[float | None, int]:
    """Return the operations of a prediction of the deployed student, and the number of students."""
    for record in runs.values():
        path = RunFiles(record.folder).data
        description = read_object(path, "delete it") if path.is_file() else {}
        cost = number(section(description, "network"), "operations")
        students = number(section(section(record.result or {}, "identity"), "group"), "students")
        if cost:
            together = section(record.result or {}, "hand_over").get("kind") == "ensemble"
            return cost * (students or 1 if together else 1), int(students or 1)
    return None, 1


def _scatter(title: str, x_label: str, found: Sequence[tuple[Row, float, float, str]], scored: str, note: str) -> Plot:
    """Draw accuracies over a logarithm of costs."""
    costs = [cost for _, cost, _, _ in found]
    reach = max(math.log(max(costs) / min(costs)) * 0.08, 0.15)
    x = Scale(min(costs) / math.exp(reach), max(costs) * math.exp(reach), LEFT, WIDTH - RIGHT, log=True)
    low, high = padded([100 * share for _, _, share, _ in found], 0.1, least=0.5)
    y = Scale(low, high, HEIGHT - BOTTOM, TOP)
    size, unit = next(((size, unit) for unit, size in UNITS if max(costs) >= size), (1e6, "M"))
    place = {id(item): (x(item[1]), y(100 * item[2])) for item in found}
    front, top = [], -math.inf
    for item in sorted(found, key=lambda item: (item[1], -item[2])):
        if item[2] > top:
            front.append(item)
            top = item[2]
    rules = []
    for one, other in pairwise(front):
        (x1, y1), (x2, y2) = place[id(one)], place[id(other)]
        rules += [Rule(x1, y1, x2, y1, "frontier"), Rule(x2, y1, x2, y2, "frontier")]
    marks = []
    for item in sorted(found, key=lambda item: item[0]["role"] == "baseline"):
        row, cost, share, shape = item
        std = row["test_std"] if shape == "circle" else row["ensemble_test_std"]
        what = name(row) + (", ensemble" if shape == "ring" else "")
        times = f" ({row['cost']:.2f} times the baseline's)" if row["cost"] is not None and cost == row["flops"] else ""
        tip = f"{shortened(what, 60)}\n{100 * share:.2f}{'' if std is None else f' ± {100 * std:.2f}'} %\n{operations(cost)}{times}"
        css_class = css_of(row)
        series = next((text for key, (text, _) in KINDS.items() if css_class in (key, f"k-{key}")), "")
        marks.append(Point(*place[id(item)], css_class, tip, series, shape, 5.5))
    wanted = [*front, *(item for item in found if item[0]["role"] in ("baseline", "control") and item not in front)]
    rest = [item for item in found if item not in wanted]
    labels = _labels([(place[id(item)], item) for item in [*wanted, *rest]], [place[id(item)] for item in found])
    return Plot(
        title,
        about=f"{title}: {len(found)} marks",
        x_label=f"{x_label} ({unit}FLOP)",
        y_label=f"% {scored} accuracy",
        x_ticks=x.ticks(4, lambda value: f"{value / size:.3g}"),
        y_ticks=y.ticks(5),
        points=marks,
        rules=rules,
        labels=labels,
        note=note,
    )


def _labels(
    wanted: Sequence[tuple[tuple[float, float], tuple[Row, float, float, str]]], marks: Sequence[tuple[float, float]]
) -> list[Label]:
    """Name the marks for whose names there is room, the first ones first."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    labels = []
    for (x, y), (row, _, _, shape) in wanted:
        text = shortened(str(row["variant"]), 18) + (" ensemble" if shape == "ring" else "")
        width = LETTER * len(text)
        for anchor, dx, dy in (("start", 9, 4), ("end", -9, 4), ("middle", 0, -9), ("middle", 0, 18)):
            left = x + dx - {"start": 0, "middle": width / 2, "end": width}[anchor]
            box = (left, y + dy - LINE + 3, left + width, y + dy + 2)
            inside = box[0] >= LEFT + 2 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
            if inside and not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
                taken.append(box)
                labels.append(Label(round(x + dx, 1), round(y + dy, 1), text, "small", anchor))
                break
    return labels


def by_seed(result: Mapping[str, Any]) -> Matrix | None:
    """Return the difference of each variant to the baseline by seed."""
    rows = [row for row in result["rows"] if row["difference_by_seed"] and row["role"] != "teacher"]
    seeds = result["seeds"]
    if not rows or len(seeds) < 2:
        return None
    largest = max(abs(value) for row in rows for value in row["difference_by_seed"].values()) or 1.0
    squares = [
        Square(
            place,
            seeds.index(seed),
            0.9 * abs(value) / largest,
            points(value, 1),
            f"{shortened(name(row), 60)}, seed {seed}\n{points(value)} points",
            "on" if value >= 0 else "off",
        )
        for place, row in enumerate(rows)
        for seed, value in row["difference_by_seed"].items()
    ]
    against = f"In points, against {shortened(result['reference'], 30)} with the same seed."
    note = f"{against} Where the signs of a row differ, chance is as large as the method."
    return Matrix("Differences by seed", [name(row) for row in rows], [f"{seed}" for seed in seeds], squares, "", "seed", note)


def curves_by_method(result: Mapping[str, Any], records: Records) -> tuple[list[Plot], list[Key]]:
    """Return curves over the epochs, the mean over seeds with a band of one standard deviation, and their legend."""
    rows = [row for row in result["rows"] if row["role"] != LINEAR and records.get(row["variant"])]
    colours, used = {}, 0
    for row in rows:
        alone = row["role"] == "baseline"
        colours[name(row)] = "ink" if alone else css(used)
        used += not alone
    shown = {name(row) for row in rows[:SHOWN]} | {name(row) for row in rows if row["role"] == "baseline"}
    found = []
    for title, label, text, late, read in (
        ("Hold-out accuracy, best member of each epoch", "% of the hold-out samples", "{:.2f} %".format, True, _best),
        ("Hold-out loss, mean of the members", "cross-entropy in nats", "{:.3f}".format, True, _loss),
        ("Diversity of the students", "mean distance of predictions", "{:.3f}".format, False, _diversity),
    ):
        series: dict[str, list[float | None]] = {}
        bands: dict[str, list[float]] = {}
        longest = max((len(record.epochs) for runs in records.values() for record in runs.values()), default=0)
        for row in rows:
            runs = [[read(record, epoch) for epoch in record.epochs] for record in records[row["variant"]].values()]
            means: list[float | None] = []
            reach: list[float] = []
            for place in range(longest):
                at = [run[place] for run in runs if place < len(run)]
                known = [value for value in at if value is not None]
                complete = len(known) == len(runs)
                means.append(statistics.fmean(known) if complete else None)
                reach.append(statistics.stdev(known) if complete and len(known) > 1 else 0.0)
            if any(v is not None for v in means):
                series[name(row)], bands[name(row)] = means, reach
        if series:
            some = bands if len(rows) <= SHOWN + 2 and any(map(any, bands.values())) else None
            limits = (0.0, 100.0) if read is _best else (0.0, None)
            found.append(
                curves(
                    title,
                    label,
                    range(1, longest + 1),
                    series,
                    colours,
                    text=text,
                    bands=some,
                    late=late,
                    limits=limits,
                    least=2.0 if read is _best else 0.0,
                )
            )
    return found, [Key(one, colour, one in shown) for one, colour in colours.items()] if found else []


def _best(record: RunRecord, epoch: Mapping[str, object]) -> float | None:
    scores = values(epoch, "holdout")
    return max((100 * scores[one] for one in record.candidates if one in scores), default=None)


def _loss(record: RunRecord, epoch: Mapping[str, object]) -> float | None:
    scores = values(epoch, "holdout_cross_entropy")
    known = [scores[one] for one in record.candidates if one in scores and math.isfinite(scores[one])]
    return statistics.fmean(known) if known else None


def _diversity(_: RunRecord, epoch: Mapping[str, object]) -> float | None:
    return number(epoch, "diversity")
