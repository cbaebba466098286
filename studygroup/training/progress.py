"""Progress on the terminal: epochs, steps, and a bar for each member's hold-out accuracy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from studygroup.terminal import safe_console

MAX_BARS = 16  # members; more would fill the screen


class Progress:
    """Progress bars on a terminal, a line per epoch elsewhere, nothing if not wanted; on standard error."""

    def __init__(self, title: str, members: Sequence[str], *, epochs: int, steps: int, wanted: bool) -> None:
        self.epochs = epochs
        self.wanted = wanted
        self.title = title
        self.bars: Any = None
        if wanted and sys.stderr.isatty():
            from rich.progress import BarColumn, Task, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars
            from rich.text import Text

            class TimeLeft(TimeRemainingColumn):
                """Time left, blank for members: their bars show a level."""

                def render(self, task: Task) -> Text:
                    return Text() if task.start_time is None else super().render(task)

            self.bars = Bars(
                TextColumn("{task.description:>12}"),
                BarColumn(bar_width=32),
                TextColumn("{task.fields[text]}"),
                TimeLeft(elapsed_when_finished=True),
                console=safe_console(stderr=True),
            )
            self.total = self.bars.add_task(title, total=epochs * steps, text="")
            self.members = {name: self.bars.add_task(name, total=1.0, start=False, text="") for name in members[:MAX_BARS]}
            self.steps = steps
            self.bars.start()

    def step(self, epoch: int, step: int) -> None:
        """Show a finished step, counted from 1, of the epoch after `epoch` others."""
        if self.bars is not None:
            self.bars.update(
                self.total, completed=epoch * self.steps + step, text=f"epoch {epoch + 1}/{self.epochs}, step {step}/{self.steps}"
            )

    def epoch(self, record: dict[str, Any]) -> None:
        """Show the record of a finished epoch."""
        if self.bars is not None:
            for name, task in self.members.items():
                loss = sum(value for key, value in record["losses"].items() if key.startswith(f"{name}/"))
                accuracy = record["holdout"].get(name)
                known = "" if accuracy is None else f"hold-out {accuracy:.2%}, "
                self.bars.update(task, completed=accuracy or 0.0, text=f"{known}loss {loss:.3f}")
        elif self.wanted:
            holdout = record["holdout"]
            best = max((name for name in holdout if name != "ensemble"), key=lambda name: holdout[name], default=None)
            scores = "" if best is None else f", hold-out {best} {holdout[best]:.2%}"
            scores += f", ensemble {holdout['ensemble']:.2%}" if "ensemble" in holdout else ""
            loss = sum(record["losses"].values())
            print(
                f"{self.title}: epoch {record['epoch']}/{self.epochs}, loss {loss:.3f}{scores}, {record['seconds']:.1f} s",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Remove the bars."""
        if self.bars is not None:
            self.bars.stop()
