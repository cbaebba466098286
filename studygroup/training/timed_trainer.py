"""Training steps of several methods on the same data, timed in turn: what a group costs beside the student alone.

A step is everything that the trainer does for one batch: gather and augment it, all updates, and the running losses. Evaluation and
checkpoints happen once per epoch and are not included. Freed memory is kept, as the trainer keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from torch import Tensor

from studygroup.allocator import kept_memory
from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.data.progress import progress_bar
from studygroup.methods.method import Method
from studygroup.networks.factory import NetworkFactory
from studygroup.training.memory import StepMemory, step_memory
from studygroup.training.meter import LossMeter
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.step_runner import StepRunner
from studygroup.training.timing import Quartiles, computing_seconds, interleave, quartiles, ratio

WARM_UP = 2  # steps of each method before anything is timed
REPEATS = 15  # many short ones: a machine that is busy for a while spoils few of them
TARGET_SECONDS = 50.0  # of all repetitions together, unless the number of steps is given
MOST_STEPS = 50


@dataclass(frozen=True)
class Cost:
    """Measured cost of one method.

    Attributes:
        name: for tables.
        students: number of students.
        parameters: number of trainable parameters.
        steps_per_epoch: number of steps.
        seconds_per_step: median.
        seconds_per_epoch: median, without evaluation.
        samples_per_second: training samples.
        ratio: time of its epoch over that of the first method.
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
    """A method whose training steps are timed; nothing is written.

    Attributes:
        name: for tables.
        runner: its steps.
        memory: of one step; None if the networks are compiled, which hides it.
    """

    def __init__(self, name: str, method: Method, factory: NetworkFactory, splits: DataSplits, settings: Settings) -> None:
        """Build the method and take a few steps to warm up.

        Args:
            name: for tables.
            method: not built yet.
            factory: makes its networks.
            splits: the data.
            settings: of the training.

        Raises:
            UserError: the method cannot work with the network, the data or the batch size.
        """
        self.name = name
        self.runner = StepRunner.build(method, factory, splits, settings)
        self.parameters = sum(parameter.numel() for parameter in self.runner.updater.parameters)
        self.batch_size = 0
        self._batches = self._full_batches()
        for _ in range(WARM_UP):
            self._step()
        self.memory = None if settings.compile else self._measure_memory()

    def run(self, steps: int) -> float:
        """Take some steps and return the seconds that they took."""

        def work() -> None:
            for _ in range(steps):
                self._step()

        return computing_seconds(work, self.runner.device)

    def _step(self) -> None:
        self.runner.step(*next(self._batches))

    def _full_batches(self) -> Iterator[tuple[Batch, Clock, LossMeter]]:
        """Yield the batches of epoch after epoch, without smaller last ones: all steps are to cost the same."""
        for epoch in count():
            meter = LossMeter()
            number = epoch % self.runner.settings.epochs
            for step, batch in enumerate(self.runner.batches.epoch(number)):
                self.batch_size = max(self.batch_size, len(batch))
                if len(batch) == self.batch_size:
                    yield batch, self.runner.clock(number, step), meter

    def _measure_memory(self) -> StepMemory:
        batch, clock, meter = next(self._batches)
        method, optimizer = self.runner.method, self.runner.updater.optimizer
        state = [value for values in optimizer.state.values() for value in values.values() if isinstance(value, Tensor)]
        resident = [*method.parameters(), *method.buffers(), *state, batch.inputs, batch.labels, batch.indices, *batch.views]
        return step_memory(lambda: self.runner.step(batch, clock, meter), resident)


def compare(
    trainers: Sequence[TimedTrainer], *, steps: int | None = None, repeats: int = REPEATS, progress: bool = False
) -> tuple[list[Cost], int]:
    """Time several methods in turn.

    Args:
        trainers: with different names; the others are compared with the first.
        steps: steps per repetition; by default as many as let everything end in about a minute.
        repeats: number of repetitions.
        progress: show a progress bar.

    Returns:
        The costs in the same order, and the number of steps.
    """
    if steps is None:
        once = sum(timed.run(1) for timed in trainers)
        steps = min(max(int(TARGET_SECONDS / (repeats * once)), 1), MOST_STEPS)
    with kept_memory(), progress_bar("Measuring", repeats * len(trainers), "samples", show=progress) as advance:
        turns = interleave({timed.name: partial(timed.run, steps) for timed in trainers}, repeats, warm_up=0, after=lambda: advance(1))
    # Seconds of an epoch, by method and repetition.
    epochs = [[seconds / steps * timed.runner.batches.steps() for seconds in turns[timed.name]] for timed in trainers]
    return [_cost(timed, own, epochs[0]) for timed, own in zip(trainers, epochs, strict=True)], steps


def _cost(timed: TimedTrainer, epochs: Sequence[float], reference: Sequence[float]) -> Cost:
    epoch = quartiles(epochs).value
    steps = timed.runner.batches.steps()
    return Cost(
        timed.name,
        len(timed.runner.method.group),
        timed.parameters,
        steps,
        epoch / steps,
        epoch,
        timed.batch_size * steps / epoch,
        ratio(epochs, reference),
        timed.memory,
    )
