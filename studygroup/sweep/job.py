"""A job: one run of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from studygroup.reporting.leaderboard import measures
from studygroup.runs.layout import RunFiles
from studygroup.runs.reader import read_run
from studygroup.sweep.worker import Task


@dataclass
class Job:
    """A run of a variant with a seed.

    Attributes:
        name: `VARIANT-sSEED`, also of its folder.
        files: of its run.
        task: what a worker does.
        after: the jobs whose students are the teachers.
        epochs: of its training, all stages together.
        weight: cost of its training, in any unit.
        failed: reason of its failure.
        wall: seconds from the start of its process to its end; 0 if it was not run.
    """

    name: str
    files: RunFiles
    task: Task
    after: Sequence[str]
    epochs: int
    weight: float
    failed: str = field(default="", compare=False)
    wall: float = field(default=0.0, compare=False)

    def finished(self) -> bool:
        """Return whether all its results are there."""
        return (self.files.unused_scores if self.task.score_on_unused else self.files.result).is_file()

    def epochs_done(self) -> int:
        """Return the number of epochs in its metrics, all stages together."""
        if self.files.result.is_file():
            return self.epochs
        metrics = (files.metrics for files in (self.files, *self.files.stages()))
        return min(sum(path.read_bytes().count(b"\n") for path in metrics if path.is_file()), self.epochs)

    def summary(self) -> str:
        """Return hold-out accuracy and time in words: nobody should look at the test set while runs go on."""
        found = measures(read_run(self.files.folder))
        accuracy = found["holdout"]
        return f"{'' if accuracy is None else f'hold-out {accuracy:.2%}, '}{found['seconds']:.0f} s of training"
