"""Evaluations -> tables: scores by class, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studygroup.escape import markdown_cell, shortened
from studygroup.runs.evaluation import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

MAX_CLASSES = 25  # in a table of classes; of more, the weakest
MAX_MATRIX = 12  # classes in a matrix of confusions; of more, the most frequent pairs
MAX_PAIRS = 10
NAME = 30  # characters of a class's name
SCORES = ("accuracy", "top-5", "mean F1", "NLL", "calibration error")
EXPLAINED = (
    "mean F1: over the classes. NLL: negative log-likelihood in nats (cross-entropy). "
    "calibration error: expected calibration error, 15 bins of equal width."
)


def scores(evaluation: Evaluation) -> list[str]:
    """Return the cells of `SCORES`."""
    return [
        f"{evaluation.accuracy:.2%}",
        "–" if evaluation.top5 is None else f"{evaluation.top5:.2%}",
        number(evaluation.macro_f1),
        f"{evaluation.negative_log_likelihood:.4f}",
        f"{evaluation.calibration_error:.2%}",
    ]


def number(value: float | None) -> str:
    """Format a score of a class; a dash if it is not defined."""
    return "–" if value is None else f"{value:.3f}"


def render_evaluations(found: Mapping[str, Evaluation]) -> Table:
    """Return a table of the scores of several members, one per row."""
    table = _table("member", *(f">{header}" for header in SCORES), ">samples")
    for member, evaluation in found.items():
        _add(table, [member, *scores(evaluation), f"{evaluation.samples:,}"])
    table.caption = EXPLAINED
    return table


def render_classes(title: str, evaluation: Evaluation) -> Table:
    """Return a table of precision, recall and F1 of every class; of many classes, of the weakest."""
    table = _table("class", ">precision", ">recall", ">F1", ">samples")
    many = len(evaluation.classes) > MAX_CLASSES
    empty = sum(not count for count in evaluation.support)
    for c in evaluation.weakest()[:MAX_CLASSES] if many else range(len(evaluation.classes)):
        values = (evaluation.precision[c], evaluation.recall[c], evaluation.f1[c])
        _add(table, [shortened(evaluation.classes[c], NAME), *map(number, values), f"{evaluation.support[c]:,}"])
    table.title = f"{title}: the {MAX_CLASSES} weakest of {len(evaluation.classes):,} classes" if many else title
    table.caption = f"Without samples, so without recall: {empty:,} of {len(evaluation.classes):,} classes." if empty else None
    return table


def render_confusions(title: str, evaluation: Evaluation) -> Table:
    """Return the confusion matrix of a few classes; of more classes the most frequent confusions."""
    names = [shortened(name, NAME) for name in evaluation.classes]
    if len(names) > MAX_MATRIX:
        table = _table("true", "predicted", ">samples")
        for true, predicted, count in evaluation.most_confused()[:MAX_PAIRS]:
            _add(table, [names[true], names[predicted], f"{count:,}"])
        table.title = f"{title}: most frequent confusions"
        return table
    table = _table("true \\ predicted", *(f">{shortened(name, 10)}" for name in names))
    counts = {(true, predicted): count for true, predicted, count in evaluation.confusions}
    for true, name in enumerate(names):
        _add(table, [name, *(str(counts.get((true, predicted), "·")) for predicted in range(len(names)))])
    table.title = f"{title}: confusion matrix"
    return table


def markdown_classes(found: Mapping[str, Any]) -> list[str]:
    """Return the lines of a section in Markdown: F1 by class of a comparison's first method beside the baseline's.

    Args:
        found: `by_class` of `reporting.comparison`; of many classes, the weakest are shown.
    """
    classes = found["classes"]
    shown = classes
    if len(classes) > MAX_CLASSES:
        shown = sorted((row for row in classes if row["samples"]), key=lambda row: row["f1"] or 0.0)[:MAX_CLASSES]
    which = f"the {len(shown)} weakest of {len(classes):,} classes" if len(shown) < len(classes) else "all classes"
    lines = [
        f"## F1 by class: {markdown_cell(found['variant'])} and {markdown_cell(found['reference'])}",
        "",
        f"Of the selected students on the test set, mean over seeds {', '.join(map(str, found['seeds']))}; {which}.",
        "",
        f"| class | {markdown_cell(found['variant'])} | {markdown_cell(found['reference'])} | samples |",
        "|---|---:|---:|---:|",
    ]
    for row in shown:
        cells = (markdown_cell(shortened(row["name"], 80)), number(row["f1"]), number(row["reference_f1"]), f"{row['samples']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _add(table: Table, cells: Sequence[str]) -> None:
    from rich.text import Text

    table.add_row(*map(Text, cells))  # not markup: names may have brackets


def _table(*headers: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", caption_justify="left", caption_style="dim")
    for header in headers:
        table.add_column(Text(header.removeprefix(">")), justify="right" if header.startswith(">") else "left", overflow="fold")
    return table
