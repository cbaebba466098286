"""Drawings of measured numbers, read from the tables of the pages that have them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from docs.drawings.canvas import WIDTH, Canvas, Theme, polyline
from studygroup.methods import METHODS

DOCS = Path(__file__).parents[1]
DATA = DOCS / "figures" / "data"
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
ROW, TOP = 19, 78
ALONE, WITHOUT, TAUGHT = range(3)  # colours of a theme
SHORT = re.compile(r"^the student (?=alone)|^the larger network |^.*\((?=\w+\)$)|\)$")
REACH = 3.0
"""Accuracies lower than this many times the distance from the best to the median are drawn at the foot, with their value in the label."""


def read_table(page: Path, column: str) -> list[dict[str, str]]:
    """Return the rows of the first table of a page that has a column, by the titles of its columns."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|") and column in cells(line))
    titles = cells(lines[start])
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(titles, cells(line), strict=True)))
    return rows


def cells(line: str) -> list[str]:
    """Return the cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def numbers(cell: str) -> list[float]:
    """Return the numbers in a cell."""
    return [float(found) for found in NUMBER.findall(cell.replace(",", "").replace("[-", "[ -"))]


def leaderboard(theme: Theme) -> Canvas:
    """Draw what each method gains on clothes, after the last epoch, with its interval: the table of docs/results.md."""
    rows = [row for row in read_table(DOCS / "results.md", "last – alone") if len(numbers(row["last – alone"])) == 3]
    rows.sort(key=lambda row: -numbers(row["last – alone"])[0])
    low, high = -2.2, 2.2
    canvas = Canvas(theme, TOP + ROW * len(rows) + 44)
    canvas.heading(24, "What a method gains over training alone", ["points of test accuracy, 95% intervals, three seeds"])
    left, right = 130.0, WIDTH - 16.0

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (right - left)

    foot = TOP + ROW * len(rows)
    for value in (-2, -1, 0, 1, 2):
        canvas.line(f"M{x(value):.1f},{TOP - 12} V{foot - 6}", colour=theme.ink if value == 0 else theme.pale, width=1)
        canvas.text(x(value), foot + 10, f"{value:+d}" if value else "0", size=12)
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        name = row["method"].strip("*")
        colour = theme.students[group_of(name)]
        middle, start, end = numbers(row["last – alone"])
        canvas.text(left - 12, y + 4, name, size=13, anchor="end", colour=colour)
        canvas.line(f"M{x(start):.1f},{y} H{x(end):.1f}", colour=colour)
        if middle >= low:
            canvas.dot(x(middle), y, 4, colour)
        else:
            canvas.text(x(low) + 4, y - 4, f"{middle:+.1f}", size=12, anchor="start", colour=colour)
    legend(canvas, foot + 32, ("alone, longer", "without a teacher", "with a teacher or pivot"))
    return canvas


def group_of(name: str) -> int:
    """Return the colour of a variant: of the network alone, of a method that needs a trained network, or of another."""
    method = name.partition("-")[0]
    return ALONE if method not in METHODS else TAUGHT if METHODS[method].needs_teacher else WITHOUT


def legend(canvas: Canvas, y: float, words: Sequence[str]) -> None:
    """Explain the first colours, in a line."""
    at = 18.0
    for label, colour in zip(words, canvas.theme.students, strict=False):
        canvas.dot(at, y - 4, 4, colour)
        canvas.text(at + 10, y, label, size=12, anchor="start")
        at += 26 + 6.6 * len(label)


class Candidate(NamedTuple):
    """A row of an advice: hold-out accuracy with its deviation over seeds, in %; operations of the training; cost of a prediction."""

    name: str
    alone: bool
    winner: bool
    accuracy: float
    deviation: float
    training: float
    prediction: float


def candidates(page: Path) -> list[Candidate]:
    """Return the candidates in the table of an advice."""
    found = []
    for row in read_table(page, "candidate"):
        name, scores, cost = row["candidate"].strip("*"), numbers(row["hold-out"]), numbers(row["training"])
        if scores and cost:
            size = 1000.0 ** " KMGTP".index(row["training"].split()[1][0])
            prediction = (numbers(row["prediction"]) or [1.0])[0]
            alone = name.startswith("the student alone")
            winner = row["candidate"].startswith("**")
            found.append(Candidate(SHORT.sub("", name), alone, winner, scores[0], [*scores, 0.0][1], cost[0] * size, prediction))
    return found


def advice(theme: Theme) -> Canvas:
    """Draw the example of docs/advise.md."""
    return costs(theme, candidates(DOCS / "advise.md"))


def advice_photos(theme: Theme) -> Canvas:
    """Draw the advice of the tutorial."""
    return costs(theme, candidates(DATA / "advice-photos.txt"))


def costs(theme: Theme, rows: list[Candidate]) -> Canvas:
    """Draw accuracy against the cost of the training."""
    canvas = Canvas(theme, 384)
    canvas.heading(24, "What each candidate reaches for its training", ["hold-out accuracy in %, mean and deviation over seeds"])
    left, right, top, foot = 44.0, 236.0, 70.0, 312.0
    best = max(row.accuracy for row in rows)
    edge = best - REACH * max(best - statistics.median(row.accuracy for row in rows), 0.5)
    shown = [row for row in rows if row.accuracy >= edge]
    low, high = min(row.accuracy - row.deviation for row in shown), min(max(row.accuracy + row.deviation for row in shown), 100.0)
    dearest = max(row.training for row in rows)
    first = 0.8 * min(row.training for row in rows) / dearest

    def across(share: float) -> float:
        return left + (share - first) / (1 - first) * (right - left)

    def x(row: Candidate) -> float:
        return across(row.training / dearest)

    def y(accuracy: float) -> float:
        return foot - 14 - (min(max(accuracy, low), high) - low) / (high - low) * (foot - 14 - top)

    step = next(step for step in (0.2, 0.5, 1, 2, 5, 10, 20) if (high - low) / step <= 6)
    for tick in [k * step for k in range(int(low / step) + 1, int(high / step) + 1)]:
        canvas.line(f"M{left},{y(tick):.1f} H{right}", colour=theme.pale, width=1)
        canvas.text(left - 6, y(tick) + 4, f"{tick:g}", size=12, anchor="end")
    canvas.line(f"M{left},{top - 8} V{foot} H{right + 6}", colour=theme.line, width=1)
    for share in (0.25, 0.5, 0.75, 1.0):
        if share > first:
            canvas.text(across(share), foot + 17, f"{share:g}", size=12)
    canvas.text((left + right) / 2, foot + 36, "cost of training, of the dearest", size=12)
    alone = sorted((row for row in rows if row.alone), key=lambda row: row.training)
    canvas.line(polyline([(x(row), y(row.accuracy)) for row in alone]), colour=theme.students[0], width=1)
    ordered = sorted(rows, key=lambda row: -row.accuracy)
    for row, place in zip(ordered, spread([y(row.accuracy) for row in ordered], 17, top, foot), strict=True):
        colour = theme.students[0 if row.alone else 1]
        at = (x(row), y(row.accuracy))
        if row in shown:
            canvas.line(
                f"M{at[0]:.1f},{y(row.accuracy - row.deviation):.1f} V{y(row.accuracy + row.deviation):.1f}", colour=colour, width=1
            )
        canvas.line(polyline([at, (right + 8, place), (right + 14, place)]), colour=theme.line, width=0.5)
        canvas.dot(*at, 4, colour)
        if row.winner:
            canvas.ring(*at, 8, theme.students[3])
        value = f" {row.accuracy:.1f}" + (f" ({row.prediction:.1f} x)" if row.prediction != 1 else "")
        name = row.name if row in shown else f"↓ {row.name}"
        canvas.text(right + 18, place + 4, name + value, size=12, anchor="start", colour=colour, bold=row.winner)
    legend(canvas, 374, ("the student alone", "other candidates; x: cost of a prediction"))
    return canvas


def spread(wanted: Sequence[float], distance: float, top: float, foot: float) -> list[float]:
    """Return heights of labels, in the order of the wanted ones, that are apart by a distance, and not below the foot if they fit."""
    places: list[float] = []
    for height in wanted:
        places.append(max(height, places[-1] + distance if places else top))
    limit = foot
    for number in range(len(places) - 1, -1, -1):
        places[number] = min(places[number], limit)
        limit = places[number] - distance
    return places
