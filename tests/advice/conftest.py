"""Advice on digits whose runs are written by a fake executor, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import studygroup
from studygroup.advice import advise as steps
from studygroup.advice import answer, journal, rungs
from studygroup.errors import TrainingError, UserError
from studygroup.options import TrainOptions
from studygroup.reporting import advice_plot, curves
from studygroup.sweep import comparison, scheduler
from studygroup.sweep.measure import Measured
from studygroup.sweep.variants import Variant
from studygroup.sweep.worker import Outcome, Task
from studygroup.training.flops import TrainingCost
from tests.run_folders import write_run

Accuracy = Callable[[TrainOptions], float]
SMALL: dict[str, Any] = {"preset": "none", "student": "resnet8", "train_size": 96, "holdout": 100, "batch_size": 32, "progress": False}
OPERATIONS = {"dml": 2.0, "cgl": 3.0, "one": 1.9, "orc": 5.0, "kd": 1.4, "rdrop": 2.0, "baseline": 1.0}
"""Operations of a sample's step, over those of the student alone; of the larger network they are `LARGER` times as many."""
LARGER = 2.0
SAMPLES = 96


class World:
    """A machine with two processes on which runs take virtual time and have accuracies by rule.

    Attributes:
        now: virtual seconds.
        overhead: seconds of a process beside its epochs.
        factor: real seconds of an epoch over measured ones.
        accuracy: rule: options of a run -> hold-out accuracy; an error it raises is the run's failure.
        started: names of the comparison and the run, in order.
        linear: hold-out accuracy of the linear model; None for none.
        interrupt: number of runs after which the user stops everything; None for never.
    """

    slots, description = 2, "virtual"

    def __init__(self) -> None:
        self.now, self.overhead, self.factor = 0.0, 8.0, 1.3
        self.accuracy: Accuracy = lambda options: 0.9
        self.linear: float | None = None
        self.started: list[tuple[str, str]] = []
        self.interrupt: int | None = None
        self.measured: list[str] = []
        self._running: dict[str, tuple[float, Task]] = {}

    def start(self, name: str, task: Task) -> None:
        options = TrainOptions.from_plain(task.options)
        if self.interrupt is not None and len(self.started) >= self.interrupt:
            self.interrupt = None
            raise KeyboardInterrupt
        self.started.append((Path(str(options.out)).parent.parent.name, name))
        assert options.epochs is not None
        self._running[name] = self.now + self.overhead + self.factor * seconds_per_epoch(options) * options.epochs, task

    def wait(self, seconds: float) -> dict[str, Outcome]:
        name = min(self._running, key=lambda name: self._running[name][0])
        self.now, task = self._running.pop(name)
        return {name: self._write(TrainOptions.from_plain(task.options))}

    def _write(self, options: TrainOptions) -> Outcome:
        try:
            accuracy = self.accuracy(options)
        except TrainingError as error:
            return {"error": str(error)}
        folder = Path(str(options.out))
        assert options.epochs is not None
        settings = {key: value for key, value in options.plain().items() if key not in ("method_options", "progress")}
        write_run(folder, method=str(options.method), epochs=options.epochs, seed=options.seed, test=accuracy - 0.02, settings=settings)
        path = folder / "result.json"
        result = json.loads(path.read_text())
        result["selected"]["test"], result["last"]["test"], result["test_samples"] = None, {}, 0
        if self.linear is not None:
            result["linear"] = {"model": "linear", "holdout": self.linear, "test": None, "parameters": 650}
        path.write_text(json.dumps(result))
        return {}

    def stop(self) -> None:
        raise AssertionError("no stop was requested")

    def close(self) -> None:
        self._running.clear()

    def measure(self, variant: Variant, variants: object, *, seconds: float) -> Measured:
        self.now += 1.0
        self.measured.append(variant.name)
        if variant.name == "one":
            raise UserError("one: this network has no branches; take another")
        options = variant.options
        cost = TrainingCost(3e6 * operations(options), SAMPLES)
        return Measured(cost, seconds_per_epoch(options), 0.0, 1e6 * (LARGER if options.student == "resnet14" else 1.0))


def operations(options: Any) -> float:
    return OPERATIONS[str(options.method)] * (LARGER if options.student == "resnet14" else 1.0)


def seconds_per_epoch(options: Any) -> float:
    return 0.5 * operations(options) * (1.5 if options.augment in ("medium", "strong") else 1.0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    clock = SimpleNamespace(monotonic=lambda: world.now)
    for module in (journal, rungs, scheduler):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(comparison, "choose_executor", lambda *_: world)
    monkeypatch.setattr(steps, "processes", lambda *_: (2, 1))
    monkeypatch.setattr(steps, "measure", world.measure)
    monkeypatch.setattr(answer, "score_on_test", lambda files: {"accuracy": 0.9, "low": 0.85, "high": 0.95, "samples": 100})
    monkeypatch.setattr(curves, "draw", lambda *_: None)
    monkeypatch.setattr(advice_plot, "draw_advice", lambda *_: None)
    return world


@pytest.fixture
def advise(tmp_path: Path, cache: Path, world: World) -> Callable[..., dict[str, Any]]:
    """Return `studygroup.advise` with defaults for tiny data, which writes to `tmp_path/out`."""

    def run(**arguments: Any) -> dict[str, Any]:
        given = {**SMALL, "cache": cache, "out": tmp_path / "out", **arguments}
        result: dict[str, Any] = studygroup.advise(given.pop("data", "digits"), **given)
        return result

    return run


def saturating(options: TrainOptions, *, top: float = 0.9, needs: float = 25.0) -> float:
    """Return an accuracy that rises with the epochs until about `needs`, and differs a little by seed."""
    assert options.epochs is not None
    return float(top * (1 - 0.5 * 0.05 ** (options.epochs / needs)) + 0.004 * options.seed)


def folders(out: Path) -> Mapping[str, list[str]]:
    return {path.name: sorted(run.name for run in (path / "runs").iterdir()) for path in out.iterdir() if (path / "runs").is_dir()}


@contextmanager
def interrupted(world: World, after: int) -> Iterator[None]:
    world.interrupt = after
    with pytest.raises(KeyboardInterrupt):
        yield
