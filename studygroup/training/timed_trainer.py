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
from studygroup.data.progress import bar
from studygroup.methods.method import Method
from studygroup.networks.factory import Maker
from studygroup.networks.registry import parameter_count
from studygroup.training.memory import StepMemory, step_memory
from studygroup.training.settings import Settings
from studygroup.training.fit import Material
from studygroup.training.timing import Spread, interleave, ratio, seconds_of, spread
from studygroup.training.trainer import Trainer
from studygroup.training.updater import Ledger

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
    ratio: Spread
    memory: StepMemory | None


class Lane:
    """A method that takes as many training steps as it is asked for, warmed up.

    Attributes:
        name: for tables.
        trainer: a trainer as `studygroup train` would run; nothing is written.
        memory: of one step; None if the networks are compiled, which hides it.
    """

    def __init__(self, name: str, method: Method, make: Maker, material: Material, settings: Settings) -> None:
        """Assemble the method and take a few steps.

        Args:
            name: for tables.
            method: not assembled yet.
            make: makes its networks.
            material: what to learn from.
            settings: how.

        Raises:
            UserError: the method cannot work with the network, the data or the batch size.
        """
        device = settings.torch_device()
        dataset = material.dataset
        preprocess = dataset.inputs.prepare(device, settings.memory_format(device), material.augment)
        method.assemble(make)
        self.name = name
        self.device = device
        self.trainer = Trainer(method, material.train, material.holdout, preprocess, settings, Path(), identity={})
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

    def _learn(self, batch: Batch, clock: Clock, ledger: Ledger) -> None:
        self.trainer.updater.learn(batch, clock, ledger)

    def _all_lessons(self) -> Iterator[tuple[Batch, Clock, Ledger]]:
        """The batches of epoch after epoch; those that are cut short by an epoch's end are left out, as all steps are to be alike."""
        batches, settings = self.trainer.batches, self.trainer.settings
        self.trainer.method.train()
        steps = batches.steps()
        for epoch in count():
            ledger = Ledger()
            for step, batch in enumerate(batches.epoch(epoch % settings.epochs)):
                self.batch_size = max(self.batch_size, len(batch))
                if len(batch) == self.batch_size:
                    yield batch, Clock(epoch % settings.epochs, settings.epochs, step, steps, settings.seed), ledger

    def _measure_memory(self) -> StepMemory:
        batch, clock, ledger = next(self._lessons)
        return step_memory(lambda: self._learn(batch, clock, ledger), self._resident(batch))

    def _resident(self, batch: Batch) -> list[Tensor]:
        method, optimizer = self.trainer.method, self.trainer.updater.optimizer
        state = [value for values in optimizer.state.values() for value in values.values() if isinstance(value, Tensor)]
        return [*method.parameters(), *method.buffers(), *state, batch.inputs, batch.labels, batch.indices, *batch.views]


def compare(lanes: Sequence[Lane], *, steps: int | None = None, repeats: int = REPEATS, progress: bool = False) -> tuple[list[Cost], int]:
    """Time the lanes in turn.

    Args:
        lanes: of different names; the first is what the others are compared with.
        steps: of each lane in every repetition; by default as many as let all end in about a minute.
        repeats: how often each has its turn.
        progress: show a progress bar.

    Returns:
        The costs, in the lanes' order, and the number of steps.
    """
    if steps is None:
        once = sum(lane.run(1) for lane in lanes)
        steps = min(max(int(ABOUT / (repeats * once)), 1), MOST_STEPS)
    with bar("Measuring", repeats * len(lanes), "samples", show=progress) as advance:
        turns = interleave({lane.name: partial(lane.run, steps) for lane in lanes}, repeats, warm_up=0, after=lambda: advance(1))
    # Seconds of an epoch, by lane and repetition.
    epochs = [[seconds / steps * lane.trainer.batches.steps() for seconds in turns[lane.name]] for lane in lanes]
    return [_cost(lane, own, epochs[0]) for lane, own in zip(lanes, epochs, strict=True)], steps


def _cost(lane: Lane, epochs: Sequence[float], reference: Sequence[float]) -> Cost:
    epoch = spread(epochs).value
    steps = lane.trainer.batches.steps()
    return Cost(
        lane.name,
        len(lane.trainer.method.group),
        lane.parameters,
        steps,
        epoch / steps,
        epoch,
        lane.batch_size * steps / epoch,
        ratio(epochs, reference),
        lane.memory,
    )
