"""Progress bars for downloading, reading and preparing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from studygroup.escape import visible
from studygroup.terminal import safe_console

Unit = Literal["samples", "bytes", "percent"]


@contextmanager
def progress_bar(text: str, total: int, unit: Unit, *, show: bool, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error while the block runs; the value is a function that advances it.

    Args:
        text: description of the work.
        total: amount of work.
        unit: how the amount is shown; `percent` shows the fraction of the total.
        show: False for no bar.
        done: amount that was done before.
    """
    if not show:
        yield lambda amount: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    amounts = {"samples": MofNCompleteColumn, "bytes": DownloadColumn, "percent": TaskProgressColumn}
    columns = (TextColumn("{task.description}"), BarColumn(), amounts[unit](), TimeRemainingColumn())
    with Progress(*columns, console=safe_console(stderr=True), transient=True) as progress:
        task = progress.add_task(visible(text), total=total, completed=done)
        yield lambda amount: progress.advance(task, amount)
