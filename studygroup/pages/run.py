"""Run folder -> the data of its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studygroup.errors import UserError
from studygroup.escape import one_line, visible
from studygroup.pages import run_classes, run_curves, run_samples, run_words
from studygroup.pages.plots import Key, Plot
from studygroup.pages.run_facts import RunFacts
from studygroup.pages.run_samples import Tile
from studygroup.pages.run_structure import structure
from studygroup.pages.tables import Cell, Column, Command, Fact, Finding, Matrix, Measure, Row, Table, number_cell, percent
from studygroup.runs.evaluation import Evaluation
from studygroup.runs.reader import section, values

MAX_CONFIG = 20_000
"""Characters of the configuration that a page shows."""


@dataclass(frozen=True)
class RunPage:
    """All that a run's page shows.

    Attributes:
        title: what was trained.
        sentence: what was trained on what, and how good it is.
        finished: whether the run is.
        facts: numbers that stand out.
        yardstick: what its accuracy is to be compared with.
        findings: what the numbers tell.
        commands: what to do next.
        legend: of all curves.
        curves: over the epochs.
        roles: metrics of the steps, over the epochs.
        classes, confusion, pairs, reliability: of the selected student on the test set; None without one.
        summary: its scores in a line.
        mistakes: the most confident ones.
        sheet: the same as one picture, of earlier versions' runs.
        members: their accuracies.
        structure: what they share.
        disagreement: of each two.
        spread: how many test samples 0, 1, ... students get right.
        disputed: samples on which they disagree.
        settings: cost and origin.
        config: the configuration.
        problems: what could not be read.
    """

    title: str
    sentence: str
    finished: bool
    facts: Sequence[Fact]
    yardstick: Sequence[Measure]
    findings: Sequence[Finding]
    commands: Sequence[Command]
    legend: Sequence[Key]
    curves: Sequence[Plot]
    roles: Sequence[Plot]
    classes: Table | None
    confusion: Matrix | None
    pairs: Table | None
    reliability: Plot | None
    summary: str
    mistakes: Sequence[Tile]
    sheet: str
    members: Table | None
    structure: Plot | None
    disagreement: Matrix | None
    spread: Sequence[Measure]
    disputed: Sequence[Tile]
    settings: Sequence[tuple[str, str]]
    config: str
    problems: Sequence[str]


def run_page(folder: Path) -> RunPage:
    """Gather what the page of a run shows.

    Raises:
        UserError: the folder holds no run, or its metrics or result are damaged.
    """
    run = RunFacts.of(folder)
    found: Evaluation | None = run.evaluation
    predictions = run.predictions
    tiles = run_samples.mistakes(run)
    curves = run_curves.run_curves(run)
    spread = [Measure(name, share, text) for name, share, text in run_samples.spread(run)]
    return RunPage(
        title=run_words.headline(run),
        sentence=run_words.sentence(run),
        finished=run.finished,
        facts=run_words.facts(run),
        yardstick=run_words.yardstick(run),
        findings=run_words.findings(run),
        commands=run_words.commands(run),
        legend=run_curves.legend(run),
        curves=curves,
        roles=run_curves.roles(run),
        classes=None if found is None else run_classes.class_table(found),
        confusion=None if found is None else run_classes.confusion(found),
        pairs=None if found is None or not found.most_confused() else run_classes.pairs(found),
        reliability=None if predictions is None else run_classes.reliability(predictions),
        summary="" if found is None else found.summary(),
        mistakes=tiles,
        sheet="" if tiles else run_samples.contact_sheet(run),
        members=members(run),
        structure=structure(run),
        disagreement=run_samples.disagreement(run),
        spread=spread,
        disputed=run_samples.disputed(run),
        settings=run_words.settings(run),
        config=config_text(run),
        problems=[one_line(text) for text in run.problems],
    )


def members(run: RunFacts) -> Table | None:
    """Return the accuracies of the members at the last epoch, and of the selected student at its own; None without any."""
    last, sizes = section(run.result, "last"), values(run.result, "parameters")
    epoch = run.record.epochs[-1] if run.record.epochs else {}
    holdout, test = values(last, "holdout") or values(epoch, "holdout"), values(last, "test")
    rows = []
    for key in run_curves.legend(run):
        if key.name in holdout or key.name in test:
            size = sizes.get(key.name)
            rows.append(
                Row(
                    [
                        Cell(key.name, dot=key.css),
                        number_cell(holdout.get(key.name), percent(holdout.get(key.name))),
                        number_cell(test.get(key.name), percent(test.get(key.name))),
                        number_cell(size, "–" if size is None else f"{size:,.0f}"),
                    ],
                    "own" if key.name == run.member else "",
                )
            )
    for name, evaluation in run.record.evaluations.items():
        if name != "best":
            cells = [
                Cell(name),
                number_cell(None, "–"),
                number_cell(evaluation.accuracy, percent(evaluation.accuracy)),
                number_cell(None, "–"),
            ]
            rows.append(Row(cells))
    columns = [Column("member", number=False), Column("hold-out"), Column("test"), Column("parameters")]
    note = "At the last epoch." + (f" Selected: {one_line(run.member)} at epoch {run.epoch}." if run.epoch is not None else "")
    return Table("Members", columns, rows, note) if rows else None


def config_text(run: RunFacts) -> str:
    """Return the run's configuration; empty if there is none."""
    path = run.files.config
    if not path.is_file():
        return ""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    return visible(text if len(text) <= MAX_CONFIG else text[:MAX_CONFIG] + "\n…")
