"""A job: a variant with a seed, one run of the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studygroup.reporting.leaderboard import measures
from studygroup.runs.reader import read_run
from studygroup.sweep.worker import VALIDATION


@dataclass
class Job:
    """One run of the grid.

    Attributes:
        name: `VARIANT-sSEED`, also of its folder.
        folder: of its run.
        task: what a worker is told.
        after: the job whose student teaches.
        epochs: of its training, all stages together.
        weight: what its training costs, in any unit.
        failed: what went wrong.
    """

    name: str
    folder: Path
    task: Mapping[str, Any]
    after: str | None
    epochs: int
    weight: float
    failed: str = field(default="", compare=False)

    def finished(self) -> bool:
        """Whether all that it is to leave is there."""
        return (self.folder / (VALIDATION if self.task["score_on_unused"] else "result.json")).is_file()

    def epochs_done(self) -> int:
        """How many epochs its metrics tell of."""
        if (self.folder / "result.json").is_file():
            return self.epochs
        metrics = (self.folder / "metrics.jsonl", *self.folder.glob("stages/*/metrics.jsonl"))
        return min(sum(path.read_bytes().count(b"\n") for path in metrics if path.is_file()), self.epochs)

    def summary(self) -> str:
        """What came of it, by the hold-out: nobody is to look at the test set while runs go on."""
        found = measures(read_run(self.folder))
        accuracy = found["holdout"]
        return f"{'' if accuracy is None else f'hold-out {accuracy:.2%}, '}{found['seconds']:.0f} s of training"
