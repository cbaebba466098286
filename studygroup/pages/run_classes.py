"""What the selected student gets right and wrong by class: a table, the confusions, and how far its probabilities can be trusted."""

from __future__ import annotations

import math

from studygroup.escape import shortened
from studygroup.pages.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Bar, Label, Plot, Rule
from studygroup.pages.scales import Scale
from studygroup.pages.tables import Cell as TableCell
from studygroup.pages.tables import Column, Matrix, Row, Square, Table, number_cell, percent
from studygroup.runs.evaluation import BINS, Evaluation
from studygroup.runs.predictions import Predictions

MOST_ROWS = 200
"""Classes in the table; of more, the weakest."""
MOST_CLASSES = 30
"""Classes in the matrix; of more, those that are confused most."""
MOST_PAIRS = 40
NAME = 60  # characters
HISTOGRAM = 46.0
"""Height of the histogram under the calibration diagram."""


def class_table(found: Evaluation) -> Table:
    """Return precision, recall and F1 of every class; of many classes, of the weakest."""
    many = len(found.classes) > MOST_ROWS
    order = found.weakest()[:MOST_ROWS] if many else range(len(found.classes))
    taken: dict[int, tuple[int, int]] = {}
    for true, predicted, count in found.most_confused():
        taken.setdefault(true, (predicted, count))
    rows = []
    for c in order:
        other = taken.get(c)
        mistaken = "–" if other is None else f"{_name(found, other[0])} ({other[1]:,})"
        scores = [number_cell(v, "–" if v is None else f"{v:.3f}") for v in (found.precision[c], found.recall[c], found.f1[c])]
        support = found.support[c]
        rows.append(Row([TableCell(_name(found, c)), *scores, number_cell(support, f"{support:,}"), TableCell(mistaken)]))
    columns = [
        Column("class", number=False),
        Column("precision", about="of the samples that were taken for this class, the share that is of it"),
        Column("recall", about="of the samples of this class, the share that was found"),
        Column("F1", about="harmonic mean of precision and recall"),
        Column("samples", about="of this class in the test set"),
        Column("most often taken for", number=False, about="the wrong class that was predicted most often, and how often"),
    ]
    empty = sum(not count for count in found.support)
    notes = [f"The {MOST_ROWS} weakest of {len(found.classes):,} classes."] if many else []
    notes += [f"{empty:,} of {len(found.classes):,} classes have no test samples, so no recall."] if empty else []
    return Table("Scores by class", columns, rows, " ".join(notes))


def confusion(found: Evaluation) -> Matrix:
    """Return the matrix of confusions; of many classes, of those that are confused most."""
    many = len(found.classes) > MOST_CLASSES
    if many:
        wanted: dict[int, None] = {}
        for true, predicted, _ in found.most_confused():
            for c in (true, predicted):
                if len(wanted) < MOST_CLASSES:
                    wanted.setdefault(c)
        chosen = sorted(wanted)
    else:
        chosen = list(range(len(found.classes)))
    place = {c: number for number, c in enumerate(chosen)}
    names = [_name(found, c) for c in chosen]
    squares = []
    for true, predicted, count in found.confusions:
        if true not in place or predicted not in place:
            continue
        share = count / max(found.support[true], 1)
        right = true == predicted
        words = f"{count:,} of {found.support[true]:,} ({percent(share, 1)})"
        tip = f"{_name(found, true)}: right\n{words}" if right else (f"{_name(found, true)} taken for {_name(found, predicted)}\n{words}")
        squares.append(Square(place[true], place[predicted], math.sqrt(share), f"{count}", tip, "on" if right else "off"))
    note = f"The {len(chosen)} of {len(found.classes):,} classes that are confused most. " if many else ""
    return Matrix("Confusions", names, names, squares, "true class", "predicted class", f"{note}Rows add up to the samples of a class.")


def pairs(found: Evaluation) -> Table:
    """Return the pairs of classes that are confused most."""
    confused = found.most_confused()
    rows = [
        Row(
            [
                TableCell(_name(found, true)),
                TableCell(_name(found, predicted)),
                number_cell(count, f"{count:,}"),
                number_cell(count / max(found.support[true], 1), percent(count / max(found.support[true], 1), 1)),
            ]
        )
        for true, predicted, count in confused[:MOST_PAIRS]
    ]
    columns = [
        Column("true class", number=False),
        Column("taken for", number=False),
        Column("samples"),
        Column("share of the class"),
    ]
    note = f"The {MOST_PAIRS} most frequent of {len(confused):,}." if len(confused) > MOST_PAIRS else ""
    return Table("Most frequent confusions", columns, rows, note)


def reliability(found: Predictions) -> Plot | None:
    """Return the calibration diagram: accuracy over probability in bins, above the number of predictions in each."""
    sums = [[0.0, 0.0, 0.0] for _ in range(BINS)]  # samples, right, probability
    for label, predicted, probability in zip(found.labels, found.predicted, found.probability, strict=True):
        if 0 <= probability <= 1:
            own = sums[min(max(math.ceil(probability * BINS) - 1, 0), BINS - 1)]
            own[0] += 1
            own[1] += label == predicted
            own[2] += probability
    if not any(count for count, _, _ in sums):
        return None
    floor = HEIGHT - BOTTOM - HISTOGRAM - 8
    x, y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, floor, TOP)
    tallest = max(count for count, _, _ in sums)
    bars = []
    for number, (count, right, probability) in enumerate(sums):
        if not count:
            continue
        low, high = number / BINS, (number + 1) / BINS
        share, mean = right / count, probability / count
        left, width = x(low) + 1, x(high) - x(low) - 2
        gap = "less sure than right" if share > mean else "surer than right"
        tip = f"probability {percent(low, 0)} to {percent(high, 0)}\n{count:,.0f} predictions\nmean probability {percent(mean, 1)}"
        tip += f"\naccuracy {percent(share, 1)}\n{gap} by {100 * abs(share - mean):.1f} points"
        bars.append(Bar(left, y(share), width, round(floor - y(share), 1), "accuracy", tip))
        top, bottom = sorted((y(share), y(mean)))
        bars.append(Bar(left, top, width, round(bottom - top, 1), "gap-low" if share > mean else "gap-high"))
        height = max(HISTOGRAM * count / tallest, 0.8)
        bars.append(Bar(left, round(HEIGHT - BOTTOM - height, 1), width, round(height, 1), "faded", f"{count:,.0f} predictions"))
    return Plot(
        "Calibration",
        about="accuracy over predicted probability",
        x_label="probability of the predicted class",
        y_label="accuracy",
        x_ticks=x.ticks(5),
        y_ticks=y.ticks(5),
        bars=bars,
        rules=[Rule(x(0), y(0), x(1), y(1), "diagonal"), Rule(LEFT, floor, WIDTH - RIGHT, floor, "rule")],
        labels=[Label(LEFT + 4, HEIGHT - BOTTOM - HISTOGRAM + 6, "predictions", "small")],
        note="On the diagonal, a prediction of 80 % is right in 80 % of the cases. Below it the network is too sure.",
    )


def sure(found: Predictions) -> float | None:
    """Return the mean probability minus the accuracy: above 0 the network is too sure."""
    both = [
        (probability, label == predicted)
        for label, predicted, probability in zip(found.labels, found.predicted, found.probability, strict=True)
        if math.isfinite(probability)
    ]
    return sum(probability - right for probability, right in both) / len(both) if both else None


def _name(found: Evaluation, number: int) -> str:
    return shortened(found.classes[number], NAME)
