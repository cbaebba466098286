"""A study's numbers and verdicts -> tables for the terminal, a page in Markdown and a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studygroup.escape import csv_cell, markdown_cell
from studygroup.reporting import tables
from studygroup.reporting.tables import Column

if TYPE_CHECKING:
    from rich.table import Table

Cell = Mapping[str, Any]
RULE = (
    "A statement is that a quantity is above 0, computed for each seed from runs of that seed. It holds if the 95% interval of its mean "
    "over seeds (Student's t) lies above 0, is opposite if it lies below, and is undecided otherwise. A claim of several statements holds "
    "if all of them hold, and is opposite if one is, even by the wider interval that keeps the error of all of them together at 5%."
)
STANDS = {
    "tiny": "Scale tiny shows that the study runs. Its numbers say nothing of the paper's claims.",
    "small": "Scale small has other data, networks and sizes than the paper, whose numbers are no target for the measured ones.",
    "paper": "Scale paper: the published protocol, as far as the paper gives it.",
}
PAPER = "paper: "
CSV = (
    "block",
    "row",
    "column",
    "panel",
    "variant",
    "measure",
    "x",
    "y",
    "mean",
    "std",
    "low",
    "high",
    "published",
    "published_std",
    "seeds",
)


def blocks(study: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """Group the cells by block."""
    found: dict[str, list[Cell]] = {}
    for cell in study["cells"]:
        found.setdefault(cell["block"], []).append(cell)
    return found


def distinct(cells: Sequence[Cell], key: str) -> list[Any]:
    """Return the values of the cells under a key, each once, in order."""
    return list(dict.fromkeys(cell[key] for cell in cells))


def number(mean: float | None, std: float | None, digits: int) -> str:
    """Format a mean with its deviation."""
    return "–" if mean is None else f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def measured(cell: Cell) -> str:
    """Format a cell, with the seeds that failed."""
    lost = f" ({len(cell['failed'])} failed)" if cell["failed"] else ""
    return number(cell["mean"], cell["std"], cell["unit"]["digits"]) + lost


def published(cell: Cell) -> str:
    """Format the paper's number of a cell."""
    return number(cell["published"], cell["published_std"], cell["unit"]["digits"])


def columns(cells: Sequence[Cell]) -> list[Column]:
    """Return the table of a block: a row per row, and of each column ours and the paper's."""
    rows = distinct(cells, "row")
    at = {(cell["row"], cell["column"]): cell for cell in cells}
    found: list[Column] = [("", rows)]
    for column in distinct(cells, "column"):
        own = [at.get((row, column)) for row in rows]
        found.append((column, ["" if cell is None else measured(cell) for cell in own]))
        if any(cell is not None and cell["published"] is not None for cell in own):
            told = distinct([cell for cell in own if cell is not None], "stands_for")[0]
            found.append((PAPER + (told or column), ["" if cell is None else published(cell) for cell in own]))
    return found


def block_title(name: str, cells: Sequence[Cell]) -> str:
    """Return a block's name with the unit of its numbers."""
    unit = " and ".join(distinct([{"unit": cell["unit"]["name"]} for cell in cells], "unit"))
    return f"{name}: {unit}" if name and name.lower() not in unit.lower() else unit.capitalize()


def title(study: Mapping[str, Any]) -> str:
    """Return name, what it shows, scale and seeds in one line."""
    unfinished = "" if study["complete"] else " · not finished"
    return f"{study['name']} · {study['title']} · scale {study['scale']} · {study['seeds']} seeds{unfinished}"


def evidence(part: Mapping[str, Any], unit: str) -> str:
    """Return the estimate of a statement with its interval, and the paper's."""
    if part["mean"] is None:
        return part["reason"] or "–"
    found = _signed(part["mean"], unit)
    if part["low"] is not None:
        found += f" [{_signed(part['low'], unit)}, {_signed(part['high'], unit)}]"
    told = "" if part["published"] is None else f"; paper {_signed(part['published'], unit)}"
    why = f"; {part['reason']}" if part["reason"] else ""
    return f"{found}{' ' if unit else ''}{unit}{told}{why}"


def _signed(value: float, unit: str) -> str:
    return f"{value:+.2f}" if unit == "points" else f"{value:+.3g}"


def render_study(study: Mapping[str, Any], width: int | None = None) -> list[Table | str]:
    """Return the tables and lines that are printed in a terminal."""
    found: list[Table | str] = []
    for name, cells in blocks(study).items():
        shown = columns(cells)
        headers = [header for header, _ in shown[1:]]
        papers = [header for header in headers if header.startswith(PAPER)]
        dropped = [*papers, *(header for header in reversed(headers) if header not in papers)]
        named = f"{title(study)}\n{block_title(name, cells)}"
        styles = [None] * len(shown[0][1])
        found.append(tables.lay_out(shown, headers, title=named, caption="", styles=styles, dropped=dropped, width=width))
    for claim in study["claims"]:
        why = f" ({claim['reason']})" if claim["reason"] else ""
        found.append(f"{claim['verdict']:<10} {claim['text']}{why}")
        found += [f"           {part['verdict']:<10} {part['text']}: {evidence(part, claim['unit'])}" for part in claim["parts"]]
    return [*found, STANDS[study["scale"]]]


def render_study_markdown(study: Mapping[str, Any]) -> str:
    """Return the page of a study."""
    lines = [f"# {markdown_cell(title(study))}", "", f"{study['source']}. {STANDS[study['scale']]}", "", "![Figure](figure.png)", ""]
    for name, cells in blocks(study).items():
        shown = [(markdown_cell(header), texts) for header, texts in columns(cells)]
        lines += [f"## {markdown_cell(block_title(name, cells))}", "", *tables.markdown(shown, [header for header, _ in shown[1:]]), ""]
    lines += ["Means ± sample standard deviation over seeds.", "", "## Verdicts", "", RULE, ""]
    for claim in study["claims"]:
        why = f" ({markdown_cell(claim['reason'])})" if claim["reason"] else ""
        lines += [f"### **{claim['verdict']}**: {markdown_cell(claim['text'])}{why}", "", f"{claim['where']}. Tested: {claim['how']}.", ""]
        lines += ["| statement | difference, 95% interval | verdict |", "|---|---|---|"]
        lines += [
            f"| {markdown_cell(part['text'])} | {markdown_cell(evidence(part, claim['unit']))} | {part['verdict']} |"
            for part in claim["parts"]
        ]
        lines.append("")
    lines += ["## How", ""]
    lines += [f"- {markdown_cell(note)}" for note in study["notes"]]
    lines += [f"- failed: {markdown_cell(run)}: {markdown_cell(reason)}" for run, reason in study["failed"].items()]
    lines += [f"- {markdown_cell(panel['title'])}: [{panel['name']}]({panel['folder']}/leaderboard.md)" for panel in study["panels"]]
    return "\n".join([*lines, f"- command: `{study['command']}`", ""])


def render_study_csv(study: Mapping[str, Any]) -> str:
    """Return the cells in CSV, a row per cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV)
    for cell in study["cells"]:
        own = {**cell, "seeds": len(cell["by_seed"])}
        writer.writerow(["" if own[key] is None else csv_cell(str(own[key])) for key in CSV])
    return out.getvalue()
