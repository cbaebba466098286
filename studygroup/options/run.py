"""All options of a trainer, and of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from studygroup.errors import UserError
from studygroup.options.groups import (
    CheckpointOptions,
    DataOptions,
    HardwareOptions,
    MethodOptions,
    NetworkOptions,
    OptimizerOptions,
    ProgressOptions,
    ScheduleOptions,
    SeedOptions,
    SelectionOptions,
)
from studygroup.options.recipe import RecipeOptions
from studygroup.options.unlabelled import UnlabelledOptions
from studygroup.options.weights import WeightsOptions
from studygroup.parameters import option


@dataclass(frozen=True, kw_only=True)
class TrainerOptions(
    CheckpointOptions, HardwareOptions, SelectionOptions, RecipeOptions, ScheduleOptions, OptimizerOptions, ProgressOptions
):
    """All options of the trainer."""

    title = "optimisation"

    teacher_epochs: int | None = option(
        None,
        at_least=0,
        help="Epochs of a teacher that is trained first; 0 for one that is not trained further, whose weights are given",
        default_help="as many as the student's",
    )

    def stretched(self, epochs: int) -> Self:
        """Return the options for another number of epochs; milestones and warm-up are stretched or compressed, milestones to whole epochs.

        Args:
            epochs: the new number; the old one must be filled in.
        """
        assert self.epochs is not None
        factor = epochs / self.epochs
        milestones = tuple(sorted({max(round(stop * factor), 1) for stop in self.milestones}))
        return replace(self, epochs=epochs, milestones=milestones, warmup=self.warmup * factor)

    def handing_over(self, kind: Literal["selected", "ensemble"]) -> Self:
        """Return the options of a stage whose run hands over something else."""
        return replace(self, hand_over=kind, hand_over_epochs=None)

    def with_constant_rate(self, learning_rate: float | None) -> Self:
        """Return the options with a constant learning rate."""
        return replace(self, learning_rate=learning_rate, schedule="constant", milestones=(), gamma=type(self).gamma, warmup=0.0)

    def __post_init__(self) -> None:
        """Check values that depend on each other."""
        super().__post_init__()
        if self.hand_over_epochs is not None and self.hand_over != "distilled":
            raise UserError(
                f"hand_over_epochs is {self.hand_over_epochs}, but hand_over is {self.hand_over}; "
                "give --hand-over distilled, or leave it out"
            )
        if self.patience is not None and self.select_from == "last":
            raise UserError(
                f"patience is {self.patience}, but select_from is last, and which epoch is the last would depend on the others; "
                "take select_from all, or no patience"
            )
        if self.time_limit is not None and self.schedule == "milestones":
            raise UserError(
                f"time_limit is {self.time_limit}, which plans the number of epochs, but milestones are given in epochs; "
                "take another schedule, or give --epochs instead of a time limit"
            )


@dataclass(frozen=True, kw_only=True)
class RunOptions(WeightsOptions, SeedOptions, TrainerOptions, UnlabelledOptions, DataOptions, MethodOptions, NetworkOptions):
    """All options that determine a run, but not its folder and its processes."""

    def __post_init__(self) -> None:
        """Check that there is a test set; only `evaluate` opens data without one."""
        super().__post_init__()
        if self.test_size == 0:
            raise UserError("test_size is 0; it must be above 0")
