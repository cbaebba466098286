"""Study folder -> the data of its page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studygroup.errors import UserError
from studygroup.escape import one_line
from studygroup.pages.plots import Plot
from studygroup.pages.scales import padded
from studygroup.pages.study_plots import gains, plots
from studygroup.pages.tables import Cell, Column, Command, Fact, Row, Table, number_cell, strip
from studygroup.reporting.study import RULE, STANDS, block_title, blocks, distinct, evidence, measured, published
from studygroup.runs.layout import REPORT, StudyFiles
from studygroup.runs.records import read_object

NEEDED = ("name", "title", "source", "scale", "complete", "seeds", "panels", "cells", "figure", "claims", "notes", "failed", "command")
MAX_FIGURE = 500_000
"""Bytes of the drawn figure that a page may hold."""
VERDICTS = ("holds", "opposite", "undecided")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        text: of the claim.
        where: its place in the paper.
        how: it is tested.
        verdict: holds, opposite or undecided.
        reason: why it is undecided; empty if the intervals say so.
        statements: that it consists of, with their evidence.
    """

    text: str
    where: str
    how: str
    verdict: str
    reason: str
    statements: Table


@dataclass(frozen=True)
class StudyPage:
    """All that a study's page shows.

    Attributes:
        title: what the paper's table or figure shows.
        source: the paper and the place in it.
        sentence: what was run, and with what outcome.
        facts: numbers that stand out.
        commands: what to do next.
        claims: with their verdicts.
        rule: by which they are judged.
        tables: ours beside the paper's.
        plots: the figure, with marks that answer.
        gains: the figure as intervals in tables, if it shows differences.
        figure: the figure as the paper draws it, as a `data:` address; empty if there is none.
        notes: what differs from the paper.
        panels: titles of its comparisons with addresses of their reports, which may be empty.
        failed: runs and reasons; None if none failed.
        problems: what could not be read.
    """

    title: str
    source: str
    sentence: str
    facts: Sequence[Fact]
    commands: Sequence[Command]
    claims: Sequence[Claim]
    rule: str
    tables: Sequence[Table]
    plots: Sequence[Plot]
    gains: Sequence[Table]
    figure: str
    notes: Sequence[str]
    panels: Sequence[tuple[str, str]]
    failed: Table | None
    problems: Sequence[str]


def study_page(folder: Path) -> StudyPage:
    """Gather what the page of a study shows.

    Raises:
        UserError: the folder holds no study that has results, or a damaged one.
    """
    files = StudyFiles(folder)
    study = read_study(files)
    try:
        return _page(folder, files, study)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise UserError(f"{files.result} is damaged ({error!r}); run the same `studygroup study` again, which writes it anew") from error


def read_study(files: StudyFiles) -> Mapping[str, Any]:
    """Read the results of a study.

    Raises:
        UserError: it has none, or they are damaged.
    """
    if not files.result.is_file():
        raise UserError(f"the study in {files.folder} has no results yet; run the same `studygroup study` again, which continues it")
    study = read_object(files.result, "run the same `studygroup study` again, which writes it anew")
    missing = [key for key in NEEDED if key not in study]
    if missing:
        raise UserError(
            f"{files.result} is damaged (it has no {missing[0]!r}); run the same `studygroup study` again, which writes it anew"
        )
    return study


def _page(folder: Path, files: StudyFiles, study: Mapping[str, Any]) -> StudyPage:
    problems: list[str] = []
    claims = [_claim(claim) for claim in study["claims"]]
    counts = {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS}
    runs = sum(len(cell["by_seed"]) for cell in {(cell["panel"], cell["variant"]): cell for cell in study["cells"]}.values())
    failed = [Row([Cell(one_line(run)), Cell(one_line(str(reason)), css="long")]) for run, reason in study["failed"].items()]
    state = "" if study["complete"] else " It is not finished."
    outcome = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    data = ", ".join(dict.fromkeys(f"{panel['student']} on {panel['data'].rpartition('/')[2]}" for panel in study["panels"]))
    return StudyPage(
        title=one_line(str(study["title"])),
        source=f"{study['name']} · {study['source']}",
        sentence=f"{data}, with {study['seeds']} seeds.{state} Of {len(claims)} claims: {outcome or 'none'}. "
        f"{STANDS.get(study['scale'], '')}",
        facts=[
            Fact("claims that hold", f"{counts['holds']} of {len(claims)}", "all statements hold", "main"),
            Fact("opposite", str(counts["opposite"]), "the interval lies on the other side"),
            Fact("undecided", str(counts["undecided"]), "the interval contains 0, or there is none"),
            Fact("finished runs", str(runs), f"{len(failed)} failed" if failed else "none failed"),
        ],
        commands=[
            Command("Run it again, or go on", str(study["command"])),
            Command("More seeds, for narrower intervals", f"{study['command']} --seeds {2 * int(study['seeds'])}"),
        ],
        claims=claims,
        rule=RULE,
        tables=[_table(name, cells) for name, cells in blocks(study).items()],
        plots=plots(study),
        gains=gains(study),
        figure=_figure(files, problems),
        notes=[one_line(str(note)) for note in study["notes"]],
        panels=[
            (one_line(panel["title"]), f"{panel['folder']}/{REPORT}" if (folder / panel["folder"] / REPORT).is_file() else "")
            for panel in study["panels"]
        ],
        failed=Table("What failed", [Column("run", number=False), Column("reason", number=False)], failed) if failed else None,
        problems=problems,
    )


def _claim(claim: Mapping[str, Any]) -> Claim:
    parts = claim["parts"]
    numbers = [part[key] for part in parts for key in ("mean", "low", "high", "published") if part[key] is not None]
    limits = padded([*numbers, 0.0])
    rows = []
    for part in parts:
        drawing = None
        css = {"holds": "c2", "opposite": "c1"}.get(part["verdict"], "c0")
        if part["mean"] is not None:
            drawing = strip(part["low"], part["high"], part["mean"], list(part["by_seed"].values()), limits, css, part["published"])
        rows.append(
            Row(
                [
                    Cell(one_line(part["text"]), css="long"),
                    Cell("" if drawing else "–", part["mean"] if part["mean"] is not None else -math.inf, strip=drawing),
                    Cell(evidence(part, claim["unit"]), css="long"),
                    Cell(part["verdict"], css=f"word {part['verdict']}"),
                ]
            )
        )
    columns = [
        Column("statement", number=False),
        Column("interval", about="mean, 95 % interval, a stroke for each seed; a diamond is the paper's"),
        Column("difference", number=False),
        Column("verdict", number=False),
    ]
    texts = {key: one_line(str(claim[key])) for key in ("text", "where", "how", "verdict", "reason")}
    counts = {verdict: sum(part["verdict"] == verdict for part in parts) for verdict in VERDICTS}
    outcome = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    title = f"{len(parts)} {'statement' if len(parts) == 1 else 'statements'}" + (f": {outcome}" if outcome else "")
    return Claim(**texts, statements=Table(title, columns, rows))


def _table(name: str, cells: Sequence[Mapping[str, Any]]) -> Table:
    """Return ours and the paper's numbers side by side."""
    rows, columns = distinct(cells, "row"), distinct(cells, "column")
    at = {(cell["row"], cell["column"]): cell for cell in cells}
    headers, texts = [Column("", number=False)], [[Cell(one_line(row)) for row in rows]]
    for column in columns:
        own = [at.get((row, column)) for row in rows]
        headers.append(Column(one_line(column)))
        texts.append([number_cell(None, "") if cell is None else number_cell(cell["mean"], measured(cell)) for cell in own])
        told = [cell for cell in own if cell is not None and cell["published"] is not None]
        if told:
            headers.append(Column(f"paper: {one_line(told[0]['stands_for'] or column)}", about="published"))
            texts.append(
                [
                    number_cell(None, "", css="paper") if cell is None else number_cell(cell["published"], published(cell), css="paper")
                    for cell in own
                ]
            )
    made = [Row(list(cells)) for cells in zip(*texts, strict=True)]
    return Table(
        one_line(block_title(name, cells)), headers, made, "Means ± sample standard deviation over seeds; orange: the paper's numbers."
    )


def _figure(files: StudyFiles, problems: list[str]) -> str:
    """Return the figure as it is drawn for print, as a `data:` address."""
    path = files.figure("svg")
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        problems.append(f"{path} cannot be read ({error.strerror})")
        return ""
    if len(content) > MAX_FIGURE:
        return ""
    return f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}" if content else ""
