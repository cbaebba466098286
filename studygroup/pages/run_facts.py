"""What a run's page is made from: its files, read once, with a line on each that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from studygroup.errors import UserError
from studygroup.escape import csv_cell
from studygroup.runs.evaluation import Evaluation
from studygroup.runs.layout import RunFiles
from studygroup.runs.predictions import (
    MemberPredictions,
    Predictions,
    Samples,
    read_member_predictions,
    read_predictions,
    read_samples,
)
from studygroup.runs.reader import RunRecord, number, read_run, section, values
from studygroup.runs.records import read_object

T = TypeVar("T")
ENSEMBLE = "ensemble"
BEST = "best"


@dataclass
class RunFacts:
    """A run as its page needs it.

    Attributes:
        record: of the run.
        problems: what could not be read, a line each.
    """

    record: RunRecord
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> RunFacts:
        """Read a run folder.

        Raises:
            UserError: it holds no run, or its metrics or result are damaged.
        """
        return cls(read_run(folder))

    @property
    def files(self) -> RunFiles:
        """Paths in the run folder."""
        return RunFiles(self.record.folder)

    @property
    def result(self) -> Mapping[str, object]:
        """Content of `result.json`; empty while the run is unfinished."""
        return self.record.result or {}

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return self.record.result is not None

    @property
    def selected(self) -> Mapping[str, object]:
        """Member, epoch and accuracies of the selected student."""
        return section(self.result, "selected")

    @property
    def member(self) -> str:
        """Name of the selected student."""
        return str(self.selected.get("member", ""))

    @property
    def epoch(self) -> int | None:
        """Epoch of the selected student."""
        found = number(self.selected, "epoch")
        return None if found is None else int(found)

    @property
    def group(self) -> Mapping[str, object]:
        """What identifies the group: its kind, routes, branches."""
        return section(section(self.result, "identity"), "group")

    @property
    def names(self) -> list[str]:
        """The members with an accuracy, students first, without their ensemble."""
        last = section(self.result, "last")
        known = {**values(last, "test"), **values(last, "holdout")}
        for epoch in self.record.epochs:
            known |= values(epoch, "holdout")
        order = [*values(self.record.epochs[0], "holdout")] if self.record.epochs else []
        return list(dict.fromkeys(name for name in [*order, *known] if name != ENSEMBLE))

    @property
    def students(self) -> list[str]:
        """The members that are students of the group: the first ones."""
        count = number(self.group, "students")
        if count is not None:
            return self.names[: int(count)]
        return [name for name in self.names if name.startswith("student")] or self.record.candidates

    @property
    def evaluation(self) -> Evaluation | None:
        """Scores of the selected student on the test set; None if there are none."""
        return self.record.evaluations.get(BEST)

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """Content of `data.json`; empty if there is none."""
        return self._read(self.files.data, lambda path: read_object(path, "delete it")) or {}

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """Content of `environment.json`; empty if there is none."""
        return self._read(self.files.environment, lambda path: read_object(path, "delete it")) or {}

    @cached_property
    def predictions(self) -> Predictions | None:
        """Predictions of the selected student; None if there are none."""
        return self._read(self.files.predictions, read_predictions)

    @cached_property
    def member_predictions(self) -> MemberPredictions | None:
        """Predictions of all members; None if there are none."""
        return self._read(self.files.member_predictions, read_member_predictions)

    @cached_property
    def samples(self) -> Samples | None:
        """Samples to look at; None if there are none."""
        return self._read(self.files.samples, read_samples)

    @property
    def kind(self) -> str:
        """What samples are called: images or texts."""
        found = self.data.get("kind")
        return found if found in ("images", "texts") else "samples"

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes."""
        if self.evaluation is not None:
            return list(self.evaluation.classes)
        return [str(name) for name in section(self.data, "classes")]

    @cached_property
    def spelled(self) -> dict[str, str]:
        """Names of the classes as tables of predictions spell them -> their names."""
        return {csv_cell(name): name for name in self.classes}

    def samples_in(self, part: str) -> int | None:
        """Return the number of samples of `training`, `hold-out` or `test`."""
        found = number(section(self.data, "samples"), part)
        return None if found is None else int(found)

    def _read(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Read a file that a run may lack; None, and a line, if it cannot be read."""
        if not path.is_file():
            return None
        try:
            return read(path)
        except UserError as error:
            self.problems.append(str(error))
            return None
