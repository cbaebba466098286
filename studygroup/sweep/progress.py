"""Progress of a comparison: the share of the work that is done, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from studygroup.escape import visible
from studygroup.sweep.job import Job
from studygroup.terminal import safe_console


class SweepProgress:
    """Progress bars of all jobs and of each running one on a terminal, else a line per finished job; nothing if not wanted.

    Work is counted in the jobs' weights, so that the time left is estimated well even if some methods cost ten times as much as others.
    """

    def __init__(self, jobs: Iterable[Job], *, wanted: bool) -> None:
        """Start to count; finished jobs are not counted."""
        self.jobs = {job.name: job for job in jobs}
        self.wanted = wanted
        self.ended = 0
        self._since = time.monotonic()
        self._before = {name: job.epochs_done() for name, job in self.jobs.items()}
        self._work = sum(self._remaining(name, done) for name, done in self._before.items())
        self._bars: Any = None
        if wanted and sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("{task.description:>20}"), BarColumn(bar_width=32), TextColumn("{task.fields[text]}"))
            self._bars = Progress(*columns, console=safe_console(stderr=True))
            self._total = self._bars.add_task("all", total=self._work or 1.0, text="")
            self._tasks: dict[str, Any] = {}
            self._bars.start()

    def _remaining(self, name: str, done: int) -> float:
        job = self.jobs[name]
        return job.weight * (1 - done / job.epochs)

    def update(self, running: Iterable[str]) -> None:
        """Update the bars of the running jobs."""
        if self._bars is None:
            return
        names = list(running)
        for name in names:
            job, done = self.jobs[name], self.jobs[name].epochs_done()
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=job.epochs, text="")
            self._bars.update(self._tasks[name], completed=done, text=f"epoch {done}/{job.epochs}")
        for name in set(self._tasks) - set(names):
            self._bars.remove_task(self._tasks.pop(name))
        worked = self._work - sum(self._remaining(name, self.jobs[name].epochs_done()) for name in self.jobs)
        self._bars.update(self._total, completed=worked, text=f"{self.ended} of {len(self.jobs)} runs{self.time_left()}")

    def end(self, name: str, text: str) -> None:
        """Report the end of a job; `text` says how it ended."""
        self.ended += 1
        if self.wanted:
            line = f"[{self.ended}/{len(self.jobs)}] {name}: {text}{self.time_left()}"
            if self._bars is not None:
                self._bars.console.print(line, soft_wrap=True, markup=False, highlight=False)
            else:
                print(visible(line), file=sys.stderr, flush=True)

    def time_left(self) -> str:
        """Return the estimated time left, such as `, about 3 min left`; empty at first."""
        rest = sum(self._remaining(name, job.epochs_done()) for name, job in self.jobs.items() if not job.failed)
        done = self._work - rest
        if done <= 0 or rest <= 0:
            return ""
        seconds = (time.monotonic() - self._since) * rest / done
        amount = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
        return f", about {amount} left"

    def close(self) -> None:
        """Remove the bars."""
        if self._bars is not None:
            self._bars.stop()
