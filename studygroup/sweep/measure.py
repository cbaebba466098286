"""What a variant costs on this machine: operations, which make compute equal, and seconds, which plan the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from studygroup.distributed.context import SINGLE_PROCESS
from studygroup.pipeline.planning import measure_stage
from studygroup.pipeline.setup import method_of, open_splits, plan_stages, settings_of, with_stems
from studygroup.pipeline.stages import dry_run
from studygroup.sweep.cost import measure as training_cost
from studygroup.sweep.cost import own_stages
from studygroup.sweep.variants import Variant, seeded
from studygroup.training.flops import TrainingCost, inference_cost


@dataclass(frozen=True)
class Measured:
    """Measured costs of a variant, without the training of its teacher.

    Attributes:
        cost: floating-point operations of its training.
        seconds_per_epoch: of its steps and the scores on the hold-out set, in one process that runs alone.
        seconds_before: of earlier stages whose length does not depend on the epochs.
        inference: operations per sample of the student that is deployed.
    """

    cost: TrainingCost
    seconds_per_epoch: float
    seconds_before: float
    inference: float

    def plain(self) -> dict[str, Any]:
        """Return the values in JSON's types."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Self:
        """Make it again from `plain`."""
        return cls(**{**values, "cost": TrainingCost(**values["cost"])})

    def epochs_for(self, budget: float) -> int:
        """Return the epochs that a budget in operations pays for; 0 if it pays for none."""
        return int((budget - self.cost.flops_before) / self.cost.flops_per_epoch * (1 + 1e-9))

    def seconds(self, epochs: int) -> float:
        """Return the seconds of a training."""
        return self.seconds_before + epochs * self.seconds_per_epoch


def measure(variant: Variant, variants: Sequence[Variant], *, seconds: float) -> Measured:
    """Measure a variant; a teacher that is still to be trained is used untrained.

    Args:
        variant: to measure.
        variants: all, with its teacher.
        seconds: to spend on timed steps, at least; a few are always taken.

    Raises:
        UserError: the variant cannot be trained on this data.
        TrainingError: its loss is not finite.
    """
    cost = training_cost(variant, variants)
    options = seeded(variant, variants, 0)
    method, settings = method_of(options), replace(settings_of(options), tensorboard=False)
    splits = open_splits(options)
    stages = with_stems(plan_stages(options, method, settings), options.stem, splits.dataset)
    untrained = dry_run(stages, splits)
    own = own_stages(stages)
    costs = [measure_stage(stage, splits, untrained, seconds / len(own), SINGLE_PROCESS) for stage in own]
    twice = own_stages(plan_stages(options, method, replace(settings, epochs=2 * settings.epochs)))
    grows = [later.settings.epochs > stage.settings.epochs for stage, later in zip(own, twice, strict=True)]
    per_epoch = sum(found.epoch for found, more in zip(costs, grows, strict=True) if more)
    before = sum(found.epoch * stage.settings.epochs for found, stage, more in zip(costs, own, grows, strict=True) if not more)
    return Measured(cost, per_epoch, before, inference_cost(untrained[stages[-1].name], splits))
