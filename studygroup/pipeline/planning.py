"""The number of epochs that a time limit leaves, from measured steps.

All stages of the run share the limit: those that have as many epochs as the run get the same number; those with a number of their own
(a first stage, `teacher_epochs`) keep it. What is planned is a number of epochs, from which everything else follows: the learning rate ends
its schedule in time, and the run is that of `--epochs` with this number, whatever happens to the machine meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.options.recipe import duration, show_duration
from studygroup.pipeline.stages import Stage, network_factory
from studygroup.training.calibration import EpochCost, measure_epoch
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.step_runner import StepRunner
from studygroup.training.trainer import Trainer, shard_group

CALIBRATION = 0.03  # of the limit: for the steps of all stages together

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A planned number of epochs.

    Attributes:
        epochs: of the stages that have as many as the run.
        seconds_per_epoch: measured, of one such epoch of all these stages.
        time_limit: as it was given.
    """

    epochs: int
    seconds_per_epoch: float
    time_limit: str

    def __str__(self) -> str:
        """Return the plan in one line."""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"planned {epochs} of {show_duration(self.seconds_per_epoch)} within {self.time_limit}"


def plan_epochs(
    stages_of: Callable[[int], Sequence[Stage]],
    splits: DataSplits,
    untrained: Mapping[str, nn.Module],
    time_limit: str,
    *,
    most: int | None,
    elapsed: Callable[[], float],
    ranks: DistContext,
) -> Plan:
    """Plan the number of epochs of a run.

    Args:
        stages_of: number of epochs -> the stages of the run.
        splits: the data.
        untrained: the student of each stage, from `dry_run`.
        time_limit: such as `30m`.
        most: upper limit of the number; None for none.
        elapsed: returns how many seconds of the limit have passed.
        ranks: the processes that train together.

    Raises:
        UserError: there is no time for an epoch.
    """
    limit = duration(time_limit)
    one, two = stages_of(1), stages_of(2)
    costs = [measure_stage(stage, splits, untrained, CALIBRATION * limit / len(one), ranks) for stage in one]
    growth = [later.settings.epochs - stage.settings.epochs for stage, later in zip(one, two, strict=True)]  # 1 or 0
    per_epoch = sum(cost.epoch * more for cost, more in zip(costs, growth, strict=True))
    others = sum(cost.epoch * (stage.settings.epochs - more) + cost.end for cost, stage, more in zip(costs, one, growth, strict=True))
    used = ranks.all_gather_object(elapsed())[0]
    epochs = int((limit - used - others) / per_epoch)
    if epochs < 1:
        raise UserError(
            f"time_limit is {time_limit}, but an epoch takes {show_duration(per_epoch)} here, and what comes before and after "
            f"{show_duration(used + others)}; give at least {show_duration(1.1 * (used + others + per_epoch))}"
        )
    plan = Plan(epochs if most is None else min(epochs, most), per_epoch, time_limit)
    logger.info("%s", plan)
    return plan


def measure_stage(stage: Stage, splits: DataSplits, untrained: Mapping[str, nn.Module], seconds: float, ranks: DistContext) -> EpochCost:
    """Measure what an epoch of a stage costs, with networks that are thrown away; arguments as `plan_epochs` and `measure_epoch`."""
    settings: Settings = replace(stage.settings, tensorboard=False, progress=False)
    method = type(stage.method)(**stage.method.options())
    method.build(network_factory(stage, splits, untrained))
    if ranks.is_distributed and ranks.shard != "samples":
        shard_group(method, ranks, len(splits.dataset.classes))
    loss, transform = splits.label_loss(settings), splits.transform(settings)
    runner = StepRunner(method, splits.train, transform, settings, ranks, loss=loss, unlabelled=splits.unlabelled)
    with TemporaryDirectory(prefix="studygroup-") as folder:
        trainer = Trainer(runner, splits.holdout, Path(folder), identity={})
        try:
            return measure_epoch(trainer, splits.dataset.test, seconds)
        finally:
            trainer.log.close()
