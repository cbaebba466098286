"""Comparison folder -> the data of its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studygroup.escape import one_line, shortened
from studygroup.pages.agreement import agreement
from studygroup.pages.comparison_plots import by_seed, css_of, curves_by_method, frontiers
from studygroup.pages.comparison_words import facts, findings, headline, sentence
from studygroup.pages.plots import Key, Plot
from studygroup.pages.scales import padded
from studygroup.pages.tables import Cell, Column, Command, Fact, Finding, Matrix, Row, Table, number_cell, points, strip
from studygroup.reporting.comparison import LINEAR, comparison_and_runs
from studygroup.reporting.comparison_tables import COLUMNS, name, notes, operations, scored, scored_on
from studygroup.runs.layout import REPORT

ABOUT = {
    "cost": "floating-point operations of the training, relative to the baseline's",
    "teacher's cost": "operations of training its teacher, relative to the baseline's training",
    "hold-out": "on the samples that choose student and epoch",
    "last epoch": "of the member that is best on the hold-out set at the last epoch",
    "ensemble": "of all students together, at the last epoch",
    "training": "floating-point operations of one run's training",
}
SORTED = {
    "hold-out": "holdout",
    "last epoch": "last_test",
    "mean member": "members_test",
    "ensemble": "ensemble_test",
    "mean F1": "macro_f1",
    "calibration error": "calibration_error",
    "diversity": "diversity",
    "parameters": "parameters",
    "training": "flops",
    "cost": "cost",
    "teacher's cost": "teacher_cost",
    "time": "seconds",
}
"""Columns of numbers beside the test accuracy and the difference: header -> key in a row."""


@dataclass(frozen=True)
class ComparisonPage:
    """All that a comparison's page shows.

    Attributes:
        title: what was compared.
        sentence: on what, and with what outcome.
        facts: numbers that stand out.
        findings: what the intervals say, and what they do not say.
        commands: what to do next.
        leaderboard: a row per variant.
        notes: on its columns.
        frontiers: accuracy against costs.
        kinds: their legend.
        seeds: differences by seed; None with a single seed.
        agreement: between the variants' students; None without predictions.
        legend: of the curves.
        curves: over the epochs.
        classes: scores by class; None without any.
        failed: runs and reasons; None if none failed.
        settings: origin.
        problems: what could not be read.
    """

    title: str
    sentence: str
    facts: Sequence[Fact]
    findings: Sequence[Finding]
    commands: Sequence[Command]
    leaderboard: Table
    notes: Sequence[str]
    frontiers: Sequence[Plot]
    kinds: Sequence[Key]
    seeds: Matrix | None
    agreement: Matrix | None
    legend: Sequence[Key]
    curves: Sequence[Plot]
    classes: Table | None
    failed: Table | None
    settings: Sequence[tuple[str, str]]
    problems: Sequence[str]


def comparison_page(folder: Path) -> ComparisonPage:
    """Gather what the page of a comparison shows.

    Raises:
        UserError: the folder holds no comparison, or one of its files is damaged.
    """
    result, records = comparison_and_runs(folder)
    problems: list[str] = []
    plots, kinds = frontiers(result, records)
    curves, legend = curves_by_method(result, records)
    return ComparisonPage(
        title=headline(result),
        sentence=sentence(result),
        facts=facts(result),
        findings=findings(result),
        commands=commands(folder, result),
        leaderboard=leaderboard(folder, result),
        notes=notes(result),
        frontiers=plots,
        kinds=kinds,
        seeds=by_seed(result),
        agreement=None if result["score_on_unused"] else agreement(result, records, problems),
        legend=legend,
        curves=curves,
        classes=class_table(result),
        failed=failures(result),
        settings=settings(result),
        problems=[one_line(text) for text in problems],
    )


def leaderboard(folder: Path, result: Mapping[str, Any]) -> Table:
    """Return the leaderboard: accuracies, the difference to the baseline with its interval as a drawing and as numbers, and costs."""
    rows = result["rows"]
    reach = [row[key] for row in rows for key in ("difference", "difference_low", "difference_high") if row[key] is not None]
    reach += [value for row in rows for value in row["difference_by_seed"].values()]
    limits = padded([*reach, 0.0])
    several = len({row["student"] for row in rows if row["role"] != LINEAR}) > 1
    extra = [header for header, key in SORTED.items() if any(row.get(key) is not None for row in rows)]
    tested = [
        Column(scored_on(result), about="mean ± sample standard deviation over seeds of the selected student's accuracy, in %"),
        Column(
            "against the baseline", number=True, about=f"difference to {result['reference']} in points, by seed, with its 95 % interval"
        ),
        Column("difference", about="in points: mean, and 95 % interval"),
    ]
    columns = [
        Column("method", number=False),
        *([Column("student", number=False)] if several else []),
        *(tested if scored(result) else []),
        *(Column(header, about=ABOUT.get(header, "")) for header in extra),
        Column("seeds", number=False, about="their reports"),
    ]
    return Table("Leaderboard", columns, [_row(folder, row, limits, extra, several=several, tested=scored(result)) for row in rows])


def _row(folder: Path, row: Mapping[str, Any], limits: tuple[float, float], extra: Sequence[str], *, several: bool, tested: bool) -> Row:
    mean, css = row["difference"], css_of(row)
    drawing, tip = None, ""
    if mean is not None:
        seeds = list(row["difference_by_seed"].values())
        drawing = strip(row["difference_low"], row["difference_high"], mean, seeds, limits, css)
        tip = f"{name(row)}: {COLUMNS['test – baseline'](row)} points\n" + "\n".join(
            f"seed {seed}: {points(value)}" for seed, value in row["difference_by_seed"].items()
        )
    scores = [
        number_cell(row["test"], COLUMNS["test"](row)),
        Cell("", -math.inf if mean is None else mean, tip, strip=drawing),
        number_cell(mean, COLUMNS["test – baseline"](row)),
    ]
    cells = [
        Cell(shortened(name(row), 60), dot=css),
        *([Cell(one_line(str(row["student"])))] if several else []),
        *(scores if tested else []),
        *(number_cell(row.get(SORTED[header]), COLUMNS[header](row)) for header in extra),
        _seeds(folder, row),
    ]
    return Row(cells, "own" if row["role"] == "baseline" else "dim" if row["role"] in ("teacher", LINEAR) else "")


def _seeds(folder: Path, row: Mapping[str, Any]) -> Cell:
    """Return the seeds of a row, with links to the reports of its runs."""
    links = [
        (str(seed), f"{run}/{REPORT}" if (folder / run / REPORT).is_file() else "")
        for seed, run in zip(row["seeds"], row["runs"], strict=True)
    ]
    failed = f"{len(row['failed'])} failed" if row["failed"] else ""
    return Cell(failed, float(len(row["seeds"])), links=[] if row["role"] == LINEAR else links)


def commands(folder: Path, result: Mapping[str, Any]) -> list[Command]:
    """Return the commands to deploy the first student, to look at its run, and to train everything again."""
    found = []
    first = next((row for row in result["rows"] if row["role"] not in ("teacher", LINEAR) and row["seeds"]), None)
    if first is not None:
        place = max(range(len(first["seeds"])), key=lambda i: first["holdout_by_seed"].get(first["seeds"][i]) or 0.0)
        run = folder / first["runs"][place]
        found.append(
            Command(f"Deploy {one_line(first['variant'])}, seed {first['seeds'][place]}", f"studygroup export {run} --format onnx")
        )
    if result["command"]:
        found.append(Command("Train it again", str(result["command"])))
    found.append(
        Command(
            "More seeds, for narrower intervals", f"studygroup compare --config {folder}/comparison.yaml --seeds {2 * len(result['seeds'])}"
        )
    )
    return found


def class_table(result: Mapping[str, Any]) -> Table | None:
    """Return F1 by class of the first method beside the baseline's."""
    found = result["by_class"]
    if found is None:
        return None
    rows = []
    for one in found["classes"]:
        own, other = one["f1"], one["reference_f1"]
        change = None if own is None or other is None else own - other
        scores = [number_cell(v, "–" if v is None else f"{v:.3f}") for v in (own, other)]
        difference = number_cell(change, "–" if change is None else f"{change + 0.0:+.3f}")
        rows.append(Row([Cell(shortened(one["name"], 60)), *scores, difference, number_cell(one["samples"], f"{one['samples']:,}")]))
    columns = [
        Column("class", number=False),
        Column(f"F1 of {found['variant']}"),
        Column(f"F1 of {found['reference']}"),
        Column("difference"),
        Column("samples", about="of all seeds together"),
    ]
    seeds = ", ".join(map(str, found["seeds"]))
    return Table("By class", columns, rows, f"Means over {'seed' if len(found['seeds']) == 1 else 'seeds'} {seeds}, on the test set.")


def failures(result: Mapping[str, Any]) -> Table | None:
    """Return the runs that failed, with the reason."""
    rows = [Row([Cell(one_line(run)), Cell(one_line(str(reason)), css="long")]) for run, reason in result["failed"].items()]
    return Table("What failed", [Column("run", number=False), Column("reason", number=False)], rows) if rows else None


def settings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the origin of a comparison: name and value."""
    found = [
        ("data", one_line(str(result["data"]))),
        ("students", ", ".join(map(one_line, result["students"]))),
        ("seeds", ", ".join(map(str, result["seeds"]))),
        ("budget", result["budget"].replace("-", " ")),
        ("data split", "a new one for each seed" if result["split_by_seed"] else "the same for all seeds"),
        ("scored on", f"{scored_on(result)} samples" + (f", {result['test_samples']:,}" if result["test_samples"] else "")),
        ("baseline's training", next((operations(row["flops"]) for row in result["rows"] if row["role"] == "baseline"), "–")),
        ("machine", one_line(result["machine"])),
        ("commit", ", ".join(map(one_line, result["commits"]))),
    ]
    return [(key, text) for key, text in found if text]
