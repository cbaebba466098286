"""Progress bars for what takes long: fetching, reading and preparing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal


@contextmanager
def progress_bar(
    text: str, total: int, unit: Literal["samples", "bytes", "share"], *, show: bool, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, gone once it is done; the value is a function that advances it.

    Args:
        text: what is being done.
        total: how much there is to do, in units.
        unit: what is counted; `share` shows percents of the total.
        show: False for no bar.
        done: how much of it was done before.
    """
    if not show:
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    amounts = {"samples": MofNCompleteColumn, "bytes": DownloadColumn, "share": TaskProgressColumn}
    columns = (TextColumn("{task.description}"), BarColumn(), amounts[unit](), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total, completed=done)
        yield lambda amount: progress.advance(task, amount)
