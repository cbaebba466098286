"""The training stages that a method declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studygroup.methods.method import Method


@dataclass(frozen=True, eq=False)
class StageSpec:
    """One training stage of a method, as far as it differs from the run.

    Attributes:
        name: of the stage and its folder.
        method: the method that the stage trains, not built yet.
        network: the student's network by name; None for the run's student.
        epochs: None for as many as the run has.
        constant_learning_rate: whether the learning rate stays at `learning_rate` instead of following the run's schedule.
        learning_rate: of a constant schedule; None for the run's peak.
        teachers: names of the stages whose selected student teaches; `"teacher"` stands for the run's teacher.
        starts_from: the earlier stage whose weights this one starts from; None to start from a fresh initialisation.
    """

    name: str
    method: Method
    network: str | None = None
    epochs: int | None = None
    constant_learning_rate: bool = False
    learning_rate: float | None = None
    teachers: tuple[str, ...] = ("teacher",)
    starts_from: str | None = None
