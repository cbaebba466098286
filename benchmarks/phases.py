"""The time of each phase of a CGL step, relative to the step of the same network alone.

ResNet-20 on 1 x 28 x 28, batch sizes 64 and 128, the default precision. `own forward` is the forward pass of all students together,
`targets` the forward pass of the imitated routes, `losses` the rest of the method's step. Medians of steps that ran in turn. The ratio of a
phase is its time divided by the step time of the network alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from common import Row, clothes, defaults, exact, main, maker
from studygroup.allocator import kept_memory
from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Modular
from studygroup.methods import CGL, Baseline, Method
from studygroup.training import Settings
from studygroup.training.timed_trainer import TimedTrainer

DEVICE, PRECISION, _ = defaults()
PHASES = ("own forward", "targets", "losses", "backward", "optimizer")


class Step:
    """A training step, timed phase by phase."""

    def __init__(self, timed: TimedTrainer) -> None:
        self.updater = timed.runner.updater
        self.method: Method = timed.runner.method
        self.batch: Batch = next(timed.runner.batches.epoch(0))
        self.seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
        self.passes: list[float] = []
        group = self.method.group
        if isinstance(group, Modular):
            group.run = self._timed(group.run)  # type: ignore[method-assign]

    def _timed(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            since = now()
            result = run(*arguments)
            self.passes.append(now() - since)
            return result

        return timed

    def run(self, number: int) -> None:
        self.passes.clear()
        times = [now()]
        losses = self.updater.forward(lambda: next(self.method.step(self.batch, Clock(0, 1, number, 10**6)), None)) or {}
        times.append(now())
        torch.stack(list(losses.values())).sum().backward()
        times.append(now())
        self.updater.update()
        times.append(now())
        forward, backward, update = (later - earlier for earlier, later in pairwise(times))
        own, targets = (*self.passes, 0.0, 0.0)[:2] if self.passes else (forward, 0.0)
        for phase, seconds in zip(PHASES, (own, targets, forward - own - targets, backward, update), strict=True):
            self.seconds[phase].append(seconds)

    def medians(self) -> dict[str, float]:
        return {phase: statistics.median(found) for phase, found in self.seconds.items()}


def now() -> float:
    if DEVICE.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time()  # other programs do not count
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


@kept_memory()
def measure(repeats: int, quick: bool) -> list[Row]:
    splits = clothes(200 if quick else 1000, 10, quick=quick)
    make = maker("resnet8" if quick else "resnet20", splits)
    rows = []
    for batch_size in (16,) if quick else (64, 128):
        settings = Settings(batch_size=batch_size)
        trainers = [TimedTrainer("alone", Baseline(), make, splits, settings), TimedTrainer("CGL", CGL(), make, splits, settings)]
        trainers.append(TimedTrainer("CGL, targets recalled", CGL(targets="recall"), make, splits, settings))
        steps = [Step(timed) for timed in trainers]
        for number in range(repeats):
            for step in steps:
                step.run(number)
        alone = sum(steps[0].medians().values())
        rows += [phases(f"batch {batch_size}: {timed.name}", step, alone) for timed, step in zip(trainers, steps, strict=True)]
    return rows


def phases(name: str, step: Step, alone: float) -> Row:
    medians = step.medians()
    each = ", ".join(f"{phase} {seconds / alone:.2f}" for phase, seconds in medians.items() if seconds > 0)
    milliseconds = ", ".join(f"{1000 * seconds:.1f}" for seconds in medians.values() if seconds > 0)
    return exact(name, sum(medians.values()) / alone, "x", details=f"{each} of the step alone ({milliseconds} ms)", figures=medians)


if __name__ == "__main__":
    main(__doc__ or "", measure, repeats=40)
