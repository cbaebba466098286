"""Studies on digits whose runs are written by a fake executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup.errors import TrainingError
from studygroup.options import TrainOptions
from studygroup.reporting import comparison_plot, curves, study_plot
from studygroup.studies import costs
from studygroup.sweep import comparison, worker
from studygroup.sweep.measure import Measured
from studygroup.sweep.variants import Variant
from studygroup.sweep.worker import Outcome, Task
from studygroup.training.flops import TrainingCost
from tests.run_folders import write_run

Rule = Callable[[TrainOptions], float]


class World:
    """A machine on which every run is written at once.

    Attributes:
        accuracy: rule: options of a run -> accuracy; an error that it raises is the run's failure.
        started: names of panel and run, in order.
        interrupt: number of runs after which the user stops everything; None for never.
        seconds: of an epoch, for estimates.
        measured: names of variants whose steps were measured.
    """

    slots, description = 2, "virtual"

    def __init__(self) -> None:
        self.accuracy: Rule = lambda options: 0.8
        self.started: list[tuple[str, str]] = []
        self.interrupt: int | None = None
        self.seconds = 0.1
        self.measured: list[str] = []
        self._ended: dict[str, Outcome] = {}

    def start(self, name: str, task: Task) -> None:
        options = TrainOptions.from_plain(task.options)
        if self.interrupt is not None and len(self.started) >= self.interrupt:
            self.interrupt = None
            raise KeyboardInterrupt
        self.started.append((Path(str(options.out)).parent.parent.name, name))
        self._ended[name] = self.write(options)

    def write(self, options: TrainOptions) -> Outcome:
        try:
            accuracy = self.accuracy(options)
        except TrainingError as error:
            return {"error": str(error)}
        settings = {key: value for key, value in options.plain().items() if key not in ("method_options", "progress")}
        assert options.epochs is not None
        write_run(
            Path(str(options.out)), method=str(options.method), epochs=options.epochs, seed=options.seed, test=accuracy, settings=settings
        )
        return {}

    def wait(self, seconds: float) -> dict[str, Outcome]:
        ended, self._ended = self._ended, {}
        return ended

    def stop(self) -> None:
        raise AssertionError("no stop was requested")

    def close(self) -> None:
        self._ended.clear()

    def measure(self, variant: Variant, variants: object, *, seconds: float) -> Measured:
        self.measured.append(variant.name)
        if variant.name == "dml":
            raise TrainingError("the loss is not finite")
        return Measured(TrainingCost(3e6, 256), self.seconds, 0.0, 1e6)


class InProcess(World):
    """A machine on which every run is trained in this process."""

    def write(self, options: TrainOptions) -> Outcome:
        return worker.work(Task(replace(options, progress=False).plain()))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def installed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(comparison_plot, "draw_comparison", lambda *_: None)
    monkeypatch.setattr(curves, "draw", lambda *_: None)
    monkeypatch.setattr(comparison, "choose_executor", lambda *_: world)
    return world


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(costs, "measure", world.measure)
    monkeypatch.setattr(study_plot, "draw_study", lambda study, paths: [path.touch() for path in paths])
    return installed(world, monkeypatch)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> World:
    return installed(InProcess(), monkeypatch)


@pytest.fixture
def study(tmp_path: Path, cache: Path) -> Callable[..., dict[str, Any]]:
    def run(name: str, **options: Any) -> dict[str, Any]:
        given = {"scale": "tiny", "out": tmp_path / "study", "cache": cache, "progress": False, **options}
        result: dict[str, Any] = studygroup.study(name, **given)
        return result

    return run
