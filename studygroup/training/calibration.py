"""What an epoch costs, measured on a trainer that is thrown away."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import chain, count

import numpy as np

from studygroup.data import Split
from studygroup.threads import restored_threads
from studygroup.training.meter import LossMeter
from studygroup.training.timing import seconds_of, wait_for
from studygroup.training.trainer import Trainer

WARM_UP = 2  # steps that are not counted
FEWEST_STEPS = 5
SCORED = 1000  # samples of the hold-out that are scored


@dataclass(frozen=True)
class EpochCost:
    """Measured seconds.

    Attributes:
        epoch: of an epoch: its steps, the scores on the hold-out set, and a checkpoint.
        end: of what follows the last epoch: the scores on the test set.
    """

    epoch: float
    end: float


def measure_epoch(trainer: Trainer, test: Split, seconds: float) -> EpochCost:
    """Measure training steps for some seconds, and the evaluation of a part of the hold-out set.

    Args:
        trainer: a fresh one with a folder of its own; it cannot be used any more.
        test: the test set.
        seconds: to spend on steps, at least; a few steps are always taken.
    """
    ranks, runner = trainer.ranks, trainer.runner
    steps = runner.batches.steps()
    with restored_threads():
        trainer.choose_threads()
        trainer.method.train()
        batches = chain.from_iterable(map(runner.batches.epoch, count()))
        number, started = 0, time.perf_counter()
        while True:
            if number == WARM_UP:
                wait_for(trainer.device)
                started = time.perf_counter()
            runner.step(next(batches), runner.clock(0, number % steps), LossMeter())
            trainer.members.update(number + 1)
            number += 1
            enough = number >= WARM_UP + FEWEST_STEPS and time.perf_counter() - started >= seconds
            if ranks.any_rank(enough):
                break
        wait_for(trainer.device)
        step = (time.perf_counter() - started) / (number - WARM_UP)
        trainer.state.step = number
        networks = trainer.recalibrated() if trainer.settings.recalibrate_bn else None
        recalibration = seconds_of(trainer.recalibrated, trainer.device) if networks is not None else 0.0
        scored = next((split for split in (trainer.holdout, test) if len(split)), trainer.holdout)
        sample = scored.take(np.linspace(0, len(scored) - 1, min(len(scored), SCORED)).astype(np.int64))
        times = [seconds_of(lambda: trainer.score(sample, networks), trainer.device) for _ in range(2)] if len(sample) else [0.0]
        score = times[-1] / max(len(sample), 1)
        saving = seconds_of(trainer.save)
    epoch = step * steps + score * len(trainer.holdout) + recalibration + saving
    members = len(trainer.members.names())
    # The selected member is scored once more, for its predictions, by one rank.
    end = score * len(test) * (1 + ranks.world_size / members) + recalibration + saving
    every = ranks.all_gather_object((epoch, end))
    return EpochCost(max(epoch for epoch, _ in every), max(end for _, end in every))
