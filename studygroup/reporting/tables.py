"""Rows -> a table in the terminal, Markdown or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studygroup.errors import UserError
from studygroup.runs.reader import read_run, section, values

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, object]
Column = tuple[str, list[str]]
"""Header, and the variants from above to below."""
CAPTION = (
    "Accuracies in %, mean ± sample standard deviation over seeds. test: of the student and epoch that the hold-out selected. "
    "last epoch: of the member that is best on the hold-out there. members: their mean at the last epoch."
)


def accuracy(key: str) -> Callable[[Row], str]:
    """A mean accuracy with its deviation, in per cent."""

    def text(row: Row) -> str:
        mean, spread = row.get(key), row.get(f"{key}_std")
        if not isinstance(mean, int | float):
            return "–"
        return f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if isinstance(spread, int | float) else "")

    return text


def _text(key: str) -> Callable[[Row], str]:
    return lambda row: str(row.get(key) or "")


def _seeds(row: Row) -> str:
    seeds = row.get("seeds")
    return str(len(seeds)) if isinstance(seeds, Sequence) else "–"


def diversity(row: Row) -> str:
    """The members' mean distance."""
    value = row.get("diversity")
    return f"{value:.3f}" if isinstance(value, int | float) else "–"


def time(row: Row) -> str:
    """The measured seconds, in a unit that suits."""
    value = row.get("seconds")
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min" if value < 36_000 else f"{value / 3600:.1f} h"


def count(row: Row) -> str:
    """The deployed student's parameters."""
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
    ("diversity", diversity),
    ("epochs", _epochs),
    ("time", time),
    ("parameters", count),
)

NARROW = ("diversity", "epochs", "members", "parameters", "time", "ensemble", "hold-out", "last epoch", "settings")  # what goes first
WRAP = 24


def render_terminal(rows: Sequence[Row], width: int | None = None) -> Table:
    """The leaderboard for a terminal; what is the same in all rows (data, student) stands in the title.

    Args:
        rows: what `leaderboard` returned.
        width: columns of the terminal; what does not fit is left out, the least important first. None for as many as are needed.
    """
    title, columns = _columns(rows)
    texts = [(header, [text(row) for row in rows]) for header, text in columns]
    styles = [None if row.get("finished") else "dim" for row in rows]
    return lay_out(texts, dict(NUMBERS), title=title, styles=styles, caption=CAPTION, narrow=NARROW, width=width)


def lay_out(
    columns: Sequence[Column],
    numbers: Container[str],
    *,
    title: str,
    caption: str,
    styles: Sequence[str | None],
    narrow: Sequence[str],
    width: int | None,
) -> Table:
    """A table for a terminal.

    Args:
        columns: header, and the variants from above to below.
        numbers: headers of the columns that are aligned to the right and never wrapped.
        title: above it.
        caption: below it.
        styles: of the rows.
        narrow: headers of what is left out, in this order, until the rest fits.
        width: columns of the terminal; None for as many as are needed.
    """
    from rich.markup import escape

    texts = list(columns)
    left_out = []
    for header in narrow:
        if width is not None and sum(_width(*column, numbers) + 3 for column in texts) + 1 > width and header in dict(texts):
            texts = [column for column in texts if column[0] != header]
            left_out.append(header)
    table = _table(title)
    for header, variants in texts:
        number = header in numbers
        room = None if number else _width(header, variants, numbers)
        table.add_column(header, justify="right" if number else "left", no_wrap=number, overflow="fold", min_width=room, max_width=room)
    for place, style in enumerate(styles):
        table.add_row(*(escape(variants[place]) for _, variants in texts), style=style)
    table.caption = caption + (f" A wider terminal, --out or --format json shows {', '.join(left_out)}, too." if left_out else "")
    return table


def _width(header: str, variants: Sequence[str], numbers: Container[str]) -> int:
    """Columns that a table's column takes; long settings are wrapped."""
    needed = max(map(len, [header, *variants]))
    return needed if header in numbers else min(needed, WRAP)


def render_markdown(rows: Sequence[Row]) -> str:
    """The leaderboard in Markdown."""
    title, columns = _columns(rows)
    lines = [f"**{title}**", ""] if title else []
    lines += markdown([(header, [text(row) for row in rows]) for header, text in columns], dict(NUMBERS))
    return "\n".join([*lines, "", CAPTION, ""])


def markdown(columns: Sequence[Column], numbers: Container[str]) -> list[str]:
    """The lines of a table in Markdown; see `lay_out`."""
    lines = ["| " + " | ".join(header for header, _ in columns) + " |"]
    lines.append("|" + "|".join("---:" if header in numbers else "---" for header, _ in columns) + "|")
    rows = zip(*(variants for _, variants in columns), strict=True)
    return lines + ["| " + " | ".join(variant.replace("|", "\\|") for variant in row) + " |" for row in rows]


def render_csv(rows: Sequence[Row]) -> str:
    """The leaderboard's rows in full as CSV: accuracies in [0, 1], lists joined by semicolons, nothing where there is no number."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(keys)
    for row in rows:
        writer.writerow(_cell(row.get(key)) for key in keys)
    return buffer.getvalue()


def show_run(folder: str | Path) -> Table:
    """The members of one finished run: their accuracy at the last epoch, and the one to deploy at the epoch that was selected.

    Raises:
        UserError: the folder holds no finished run.
    """
    record = read_run(folder)
    if record.result is None:
        raise UserError(f"the run in {folder} is not finished; go on with --resume")
    selected, last = section(record.result, "selected"), section(record.result, "last")
    holdout, test, sizes = values(last, "holdout"), values(last, "test"), values(record.result, "parameters")
    table = _table(" · ".join(filter(None, (record.name("data"), record.name("method"), record.name("student")))))
    table.add_column("member")
    for header in ("epoch", "hold-out %", "test %", "parameters"):
        table.add_column(header, justify="right")
    last_epoch = _epoch(last)
    order = sorted((name for name in test if name != "ensemble"), key=lambda name: (-holdout.get(name, -1.0), name))
    for name in [*order, *(["ensemble"] if "ensemble" in test else [])]:
        size = "" if name == "ensemble" or name not in sizes else f"{sizes[name]:,.0f}"
        table.add_row(name, last_epoch, _percent(holdout.get(name)), _percent(test[name]), size)
    table.add_section()
    member = str(selected.get("member"))
    size = f"{sizes[member]:,.0f}" if member in sizes else ""
    variants = (f"best ({member})", _epoch(selected), _percent(selected.get("holdout")), _percent(selected.get("test")), size)
    table.add_row(*variants, style="bold")
    table.caption = _communication(section(record.result, "ranks"))
    return table


def _communication(ranks: Mapping[str, object]) -> str | None:
    """What each of several ranks sent."""
    sent, gradients = ranks.get("bytes_per_step"), ranks.get("data_parallel_bytes_per_step")
    if not isinstance(sent, int | float) or not isinstance(gradients, int | float):
        return None
    return (
        f"{ranks.get('number')} ranks, {ranks.get('shard')} spread: each sent {_bytes(sent)} per step; "
        f"the gradients of everything would be {_bytes(gradients)}"
    )


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _columns(rows: Sequence[Row]) -> tuple[str, list[tuple[str, Callable[[Row], str]]]]:
    """What all rows share, as a title, and the columns that are left: those in which some row has something to say."""
    shared: list[str] = []
    columns = []
    for header, text in NAMES:
        told = {text(row) for row in rows}
        if header in ("data", "student") and len(told) == 1:
            shared += told
        elif header == "method" or told != {""}:
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

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left", title_style="bold")
    table.caption_style = "dim"
    return table


def _epoch(record: Mapping[str, object]) -> str:
    """The epoch as people count, from 1."""
    epoch = record.get("epoch")
    return str(epoch + 1) if isinstance(epoch, int) else "–"


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
