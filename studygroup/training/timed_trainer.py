"""What a group costs: training steps of several methods on the same data, timed in turn, beside those of the student alone.

A step is all that the trainer does for one: the batch is gathered and augmented, every lesson is learnt, the losses are booked.
Evaluation and checkpoints come once an epoch and are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.data.progress import progress_bar
from studygroup.methods.method import Method
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.registry import parameter_count
from studygroup.training.fit import DataSplits
from studygroup.training.memory import StepMemory, step_memory
from studygroup.training.settings import Settings
from studygroup.training.timing import Quartiles, interleave, quartiles, ratio, seconds_of
from studygroup.training.trainer import Trainer
from studygroup.training.updater import LossMeter

WARM_UP = 2  # steps of each lane before anything is timed
REPEATS = 15  # many short turns: a machine that is busy for a while spoils few of them
ABOUT = 50.0  # seconds that the repetitions together take, unless the number of steps is given
MOST_STEPS = 50


@dataclass(frozen=True)
class Cost:
    """What one lane costs.

    Attributes:
        name: of the lane.
        students: how many it trains together.
        parameters: that are trained.
        steps_per_epoch: of its training set.
        seconds_per_step: median.
        seconds_per_epoch: of training alone.
        samples_per_second: training samples.
        ratio: its epoch's time over the first lane's.
        memory: of one step.
    """

    name: str
    students: int
    parameters: int
    steps_per_epoch: int
    seconds_per_step: float
    seconds_per_epoch: float
    samples_per_second: float
    ratio: Quartiles
    memory: StepMemory | None


class TimedTrainer:
    """A method that takes as many training steps as it is asked for, warmed up.

    Attributes:
        name: for tables.
        trainer: a trainer as `studygroup train` would run; nothing is written.
        memory: of one step; None if the networks are compiled, which hides it.
    """

    def __init__(self, name: str, method: Method, factory: NetworkFactory, splits: DataSplits, settings: Settings) -> None:
        """Assemble the method and take a few steps.

        Args:
            name: for tables.
            method: not assembled yet.
            factory: makes its networks.
            splits: what to learn from.
            settings: how.

        Raises:
            UserError: the method cannot work with the network, the data or the batch size.
        """
        device = settings.torch_device()
        dataset = splits.dataset
        preprocess = dataset.inputs.transform(device, settings.memory_format(device), splits.augment)
        method.build(factory)
        self.name = name
        self.device = device
        self.trainer = Trainer(method, splits.train, splits.holdout, preprocess, settings, Path(), identity={})
        self.parameters = parameter_count(method)
        self.batch_size = 0
        self._lessons = self._all_lessons()
        for _ in range(WARM_UP):
            self._step()
        self.memory = None if settings.compile else self._measure_memory()

    def run(self, steps: int) -> float:
        """Take some steps; returns seconds."""

        def work() -> None:
            for _ in range(steps):
                self._step()

        return seconds_of(work, self.device)

    def _step(self) -> None:
        self._learn(*next(self._lessons))

    def _learn(self, batch: Batch, clock: Clock, meter: LossMeter) -> None:
        self.trainer.updater.learn(batch, clock, meter)

    def _all_lessons(self) -> Iterator[tuple[Batch, Clock, LossMeter]]:
        """The batches of epoch after epoch; those that are cut short by an epoch's end are left out, as all steps are to be alike."""
        batches, settings = self.trainer.batches, self.trainer.settings
        self.trainer.method.train()
        steps = batches.steps()
        for epoch in count():
            meter = LossMeter()
            for step, batch in enumerate(batches.epoch(epoch % settings.epochs)):
                self.batch_size = max(self.batch_size, len(batch))
                if len(batch) == self.batch_size:
                    yield batch, Clock(epoch % settings.epochs, settings.epochs, step, steps, settings.seed), meter

    def _measure_memory(self) -> StepMemory:
        batch, clock, meter = next(self._lessons)
        return step_memory(lambda: self._learn(batch, clock, meter), self._resident(batch))

    def _resident(self, batch: Batch) -> list[Tensor]:
        method, optimizer = self.trainer.method, self.trainer.updater.optimizer
        state = [value for values in optimizer.state.values() for value in values.values() if isinstance(value, Tensor)]
        return [*method.parameters(), *method.buffers(), *state, batch.inputs, batch.labels, batch.indices, *batch.views]


def compare(
    trainers: Sequence[TimedTrainer], *, steps: int | None = None, repeats: int = REPEATS, progress: bool = False
) -> tuple[list[Cost], int]:
    """Time the lanes in turn.

    Args:
        trainers: of different names; the first is what the others are compared with.
        steps: of each lane in every repetition; by default as many as let all end in about a minute.
        repeats: how often each has its turn.
        progress: show a progress bar.

    Returns:
        The costs, in the lanes' order, and the number of steps.
    """
    if steps is None:
        once = sum(timed.run(1) for timed in trainers)
        steps = min(max(int(ABOUT / (repeats * once)), 1), MOST_STEPS)
    with progress_bar("Measuring", repeats * len(trainers), "samples", show=progress) as advance:
        turns = interleave({timed.name: partial(timed.run, steps) for timed in trainers}, repeats, warm_up=0, after=lambda: advance(1))
    # Seconds of an epoch, by lane and repetition.
    epochs = [[seconds / steps * timed.trainer.batches.steps() for seconds in turns[timed.name]] for timed in trainers]
    return [_cost(timed, own, epochs[0]) for timed, own in zip(trainers, epochs, strict=True)], steps


def _cost(timed: TimedTrainer, epochs: Sequence[float], reference: Sequence[float]) -> Cost:
    epoch = quartiles(epochs).value
    steps = timed.trainer.batches.steps()
    return Cost(
        timed.name,
        len(timed.trainer.method.group),
        timed.parameters,
        steps,
        epoch / steps,
        epoch,
        timed.batch_size * steps / epoch,
        ratio(epochs, reference),
        timed.memory,
    )
