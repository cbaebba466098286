"""Rows -> a table in the terminal, Markdown or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studygroup.errors import UserError
from studygroup.escape import csv_cell, markdown_cell
from studygroup.runs.reader import number, read_run, section, values

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, object]
Column = tuple[str, list[str]]
"""Header, and the cells from top to bottom."""
CAPTION = (
    "Accuracies in %, mean ± sample standard deviation over seeds. test: of the student and epoch selected on the hold-out "
    "set. last epoch: of the member that is best on the hold-out set at the last epoch. members: their mean at the last epoch. "
    "top-5, mean F1 over the classes, NLL (negative log-likelihood in nats) and calibration error (15 bins): of the selected student."
)


def accuracy(key: str) -> Callable[[Row], str]:
    """Return a formatter of a mean accuracy with its deviation, in per cent."""

    def text(row: Row) -> str:
        mean, std = row.get(key), row.get(f"{key}_std")
        if not isinstance(mean, int | float):
            return "–"
        return f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if isinstance(std, int | float) else "")

    return text


def _text(key: str) -> Callable[[Row], str]:
    return lambda row: str(row.get(key) or "")


def _seeds(row: Row) -> str:
    seeds = row.get("seeds")
    return str(len(seeds)) if isinstance(seeds, Sequence) else "–"


def diversity(row: Row) -> str:
    """Format the diversity: the mean distance of the members' predictions."""
    value = row.get("diversity")
    return f"{value:.3f}" if isinstance(value, int | float) else "–"


def time(row: Row) -> str:
    """Format the measured seconds in seconds, minutes or hours."""
    value = row.get("seconds")
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min" if value < 36_000 else f"{value / 3600:.1f} h"


def count(row: Row) -> str:
    """Format the number of parameters of the selected student."""
    value = row.get("parameters")
    return f"{value:,.0f}" if isinstance(value, int | float) else "–"


def _epochs(row: Row) -> str:
    done, planned = row.get("epochs_done"), row.get("epochs")
    if row.get("finished"):
        return str(planned if planned is not None else done)
    return f"{done} of {planned if planned is not None else '?'}"


def _method(row: Row) -> str:
    return str(row.get("method") or "") + ("" if row.get("finished") else f", unfinished ({_epochs(row).replace(' of ', '/')})")


def _shared_epochs(row: Row) -> str:
    return f"epochs: {_epochs(row)}" if row.get("finished") else ""


def _plain(key: str, digits: int) -> Callable[[Row], str]:
    """Return a formatter of a mean with its deviation."""

    def text(row: Row) -> str:
        mean, std = row.get(key), row.get(f"{key}_std")
        if not isinstance(mean, int | float):
            return "–"
        return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if isinstance(std, int | float) else "")

    return text


SCORES: tuple[tuple[str, Callable[[Row], str]], ...] = (  # of the selected student, beside its accuracy
    ("top-5", accuracy("top5")),
    ("mean F1", _plain("macro_f1", 3)),
    ("NLL", _plain("negative_log_likelihood", 3)),
    ("calibration error", accuracy("calibration_error")),
)
# header, text of a row; numbers are aligned to the right
NAMES: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("data", _text("data")),
    ("student", _text("student")),
    ("method", _method),
    ("settings", _text("settings")),
)
NUMBERS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("seeds", _seeds),
    ("test", accuracy("test")),
    ("last epoch", accuracy("last_test")),
    ("members", accuracy("members_test")),
    ("ensemble", accuracy("ensemble_test")),
    ("hold-out", accuracy("holdout")),
    *SCORES,
    ("diversity", diversity),
    ("epochs", _epochs),
    ("time", time),
    ("parameters", count),
)

# Columns that are dropped in a narrow terminal, in this order.
DROPPED = (
    *(header for header, _ in SCORES),
    "diversity",
    "epochs",
    "members",
    "parameters",
    "time",
    "ensemble",
    "hold-out",
    "last epoch",
    "settings",
)
WRAP = 24  # maximum width of a text column


def render_terminal(rows: Sequence[Row], width: int | None = None) -> Table:
    """Return the leaderboard for a terminal; data and student are in the title if all rows have the same.

    Args:
        rows: as returned by `leaderboard`.
        width: of the terminal; columns that do not fit are dropped, the least important first. None for unlimited.
    """
    title, columns = _columns(rows)
    texts = [(header, [text(row) for row in rows]) for header, text in columns]
    styles = [None if row.get("finished") else "dim" for row in rows]
    return lay_out(texts, dict(NUMBERS), title=title, styles=styles, caption=CAPTION, dropped=DROPPED, width=width)


def lay_out(
    columns: Sequence[Column],
    numbers: Container[str],
    *,
    title: str,
    caption: str,
    styles: Sequence[str | None],
    dropped: Sequence[str],
    width: int | None,
) -> Table:
    """Build a table for a terminal.

    Args:
        columns: of the table.
        numbers: headers of the columns that are right-aligned and never wrapped.
        title: above the table.
        caption: below the table.
        styles: of the rows.
        dropped: headers of columns to drop, in this order, until the others fit.
        width: of the terminal; None for unlimited.
    """
    from rich.markup import escape

    texts = list(columns)
    left_out = []
    for header in dropped:
        if width is not None and sum(_width(*column, numbers) + 3 for column in texts) + 1 > width and header in dict(texts):
            texts = [column for column in texts if column[0] != header]
            left_out.append(header)
    table = _table(title)
    for header, cells in texts:
        is_number = header in numbers
        fixed = None if is_number else _width(header, cells, numbers)
        table.add_column(
            header, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold", min_width=fixed, max_width=fixed
        )
    for index, style in enumerate(styles):
        table.add_row(*(escape(cells[index]) for _, cells in texts), style=style)
    table.caption = caption + (f" A wider terminal, --out or --format json shows {', '.join(left_out)}, too." if left_out else "")
    return table


def _width(header: str, cells: Sequence[str], numbers: Container[str]) -> int:
    """Return the width of a column; long texts are wrapped."""
    needed = max(map(len, [header, *cells]))
    return needed if header in numbers else min(needed, WRAP)


def render_markdown(rows: Sequence[Row]) -> str:
    """Return the leaderboard in Markdown."""
    title, columns = _columns(rows)
    lines = [f"**{markdown_cell(title)}**", ""] if title else []
    lines += markdown([(header, [text(row) for row in rows]) for header, text in columns], dict(NUMBERS))
    return "\n".join([*lines, "", CAPTION, ""])


def markdown(columns: Sequence[Column], numbers: Container[str], bold: Container[int] = ()) -> list[str]:
    """Return the lines of a table in Markdown; arguments as of `lay_out`, and the numbers of the rows whose first cell is bold."""
    lines = ["| " + " | ".join(header for header, _ in columns) + " |"]
    lines.append("|" + "|".join("---:" if header in numbers else "---" for header, _ in columns) + "|")
    rows = zip(*(cells for _, cells in columns), strict=True)
    escaped = [(str if header in numbers else markdown_cell) for header, _ in columns]
    for place, row in enumerate(rows):
        first, *others = (escape(cell) for escape, cell in zip(escaped, row, strict=True))
        lines.append("| " + " | ".join([f"**{first}**" if place in bold else first, *others]) + " |")
    return lines


def render_csv(rows: Sequence[Row]) -> str:
    """Return all keys of the rows as CSV: accuracies in [0, 1], lists joined by semicolons, missing numbers empty."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(keys)
    for row in rows:
        writer.writerow(csv_cell(_cell(row.get(key))) for key in keys)
    return buffer.getvalue()


def show_run(folder: str | Path) -> Table:
    """Return a table of the members of a finished run: their accuracy at the last epoch, and the selected one at its epoch.

    Raises:
        UserError: the folder holds no finished run.
    """
    record = read_run(folder)
    if record.result is None:
        raise UserError(f"the run in {folder} is not finished; continue it with --resume")
    selected, last = section(record.result, "selected"), section(record.result, "last")
    holdout, test, sizes = values(last, "holdout"), values(last, "test"), values(record.result, "parameters")
    table = _table(" · ".join(filter(None, (record.name("data"), record.name("method"), record.name("student")))))
    table.add_column("member")
    for header in ("epoch", "hold-out %", "test %", "parameters"):
        table.add_column(header, justify="right")
    last_epoch = _epoch(last)
    order = sorted((name for name in test if name != "ensemble"), key=lambda name: (-holdout.get(name, -1.0), name))
    several = number(last, "diversity") is not None  # earlier versions wrote an ensemble of a single student
    for name in [*order, *(["ensemble"] if "ensemble" in test and several else [])]:
        size = "" if name == "ensemble" or name not in sizes else f"{sizes[name]:,.0f}"
        table.add_row(name, last_epoch, _percent(holdout.get(name)), _percent(test[name]), size)
    for name, evaluation in record.evaluations.items():
        if name != "best":  # a teacher that was trained before
            table.add_row(name, "–", "–", _percent(evaluation.accuracy), "")
    linear = section(record.result, "linear")
    if "holdout" in linear:
        size = f"{linear['parameters']:,.0f}" if isinstance(linear["parameters"], int | float) else ""
        kind = str(linear["model"]).partition(" ")[0]
        table.add_row(f"linear ({kind})", "", _percent(linear.get("holdout")), _percent(linear.get("test")), size)
    table.add_section()
    member = str(selected.get("member"))
    size = f"{sizes[member]:,.0f}" if member in sizes else ""
    cells = (f"best ({member})", _epoch(selected), _percent(selected.get("holdout")), _percent(selected.get("test")), size)
    table.add_row(*cells, style="bold")
    skipped = f"no linear model: {linear['skipped']}" if "skipped" in linear else None
    table.caption = "; ".join(filter(None, (_communication(section(record.result, "ranks")), skipped))) or None
    return table


def _communication(ranks: Mapping[str, object]) -> str | None:
    """Describe the communication of several ranks; None for a single process."""
    sent, gradients = ranks.get("bytes_per_step"), ranks.get("data_parallel_bytes_per_step")
    if not isinstance(sent, int | float) or not isinstance(gradients, int | float):
        return None
    return (
        f"{ranks.get('number')} ranks, sharded by {ranks.get('shard')}: each sent {_bytes(sent)} per step; "
        f"data parallel would send {_bytes(gradients)}"
    )


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _columns(rows: Sequence[Row]) -> tuple[str, list[tuple[str, Callable[[Row], str]]]]:
    """Return what all rows share, as a title, and the other columns without the empty ones."""
    shared: list[str] = []
    columns = []
    for header, text in NAMES:
        texts = {text(row) for row in rows}
        if header in ("data", "student") and len(texts) == 1:
            shared += texts
        elif header == "method" or texts != {""}:
            columns.append((header, text))
    numbers = [(header, text) for header, text in NUMBERS if {text(row) for row in rows} != {"–"}]
    epochs = {_shared_epochs(row) for row in rows}
    if len(epochs) == 1 and "" not in epochs:
        shared += epochs
        numbers = [(header, text) for header, text in numbers if header != "epochs"]
    columns += numbers
    return " · ".join(filter(None, shared)), columns


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left", title_style="bold"
    )
    table.caption_style = "dim"
    return table


def _epoch(record: Mapping[str, object]) -> str:
    """Format the epoch, counted from 1."""
    epoch = record.get("epoch")
    return str(epoch) if isinstance(epoch, int) else "–"


def _percent(value: object) -> str:
    return f"{100 * value:.2f}" if isinstance(value, int | float) else "–"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ";".join(f"{key}={_cell(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ";".join(map(str, value))
    return f"{value:.7g}" if isinstance(value, float) else str(value)
