"""The number of CPU threads: measured, watched, saved, and limited by the environment."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import studygroup
from studygroup import threads
from studygroup.data import open_dataset
from studygroup.devices import repeatable
from studygroup.methods import create_method
from studygroup.networks import NetworkFactory
from studygroup.options import TrainOptions
from studygroup.runs import checkpoint
from studygroup.runs.member import Run
from studygroup.training import DataSplits, Settings
from studygroup.training.step_runner import StepRunner
from studygroup.training.threads import Pace, fastest_threads
from tests.training.conftest import SMALL


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests' own setting of OMP_NUM_THREADS is taken away, and the number of threads restored."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threads.restored_threads():
        yield


class Machine:
    """A clock that a step moves on by what it takes with the current number of threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> None:
        self.now, self.seconds, self.steps = 0.0, seconds, 0
        monkeypatch.setattr("studygroup.training.threads.time.perf_counter", lambda: self.now)

    def step(self) -> None:
        self.steps += 1
        self.now += self.seconds[torch.get_num_threads()]


@pytest.mark.parametrize(
    ("seconds", "most", "found"),
    [
        ({1: 0.1}, 1, 1),
        ({1: 0.1, 2: 0.06}, 2, 2),
        ({1: 0.1, 2: 0.095}, 2, 1),  # too little gained
        ({1: 0.1, 2: 0.05, 3: 0.04}, 3, 3),
        ({1: 0.1, 2: 0.12, 4: 0.01}, 4, 1),  # four are not tried where two lose
        ({1: 0.1, 2: 10.0}, 2, 1),
        ({1: 8.0, 2: 4.0, 4: 2.0}, 4, 4),
    ],
)
def test_the_fastest_number(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], most: int, found: int) -> None:
    machine = Machine(monkeypatch, seconds)
    number, median = fastest_threads(machine.step, most)
    assert number == found
    assert median == pytest.approx(seconds[found])
    assert torch.get_num_threads() == found


def test_long_steps_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 8.0, 2: 40.0})
    fastest_threads(machine.step, 2)
    assert machine.steps == 2


def test_a_machine_that_others_use_gets_one_thread() -> None:
    torch.set_num_threads(2)
    pace = Pace(0.001)
    for _ in range(30):
        pace.step(0.3, 100)  # three times as slow: a change, but no fight for the cores
    assert torch.get_num_threads() == 2
    pace = Pace(0.001)
    for _ in range(9):
        pace.step(0.6, 100)
    with pytest.warns(UserWarning, match="6 times as long as at the start.*1 thread instead of 2. Give --threads"):
        pace.step(0.6, 100)
    assert torch.get_num_threads() == 1
    for _ in range(30):
        pace.step(6.0, 100)  # nothing is left to change


def test_a_pace_of_nothing_watches_nothing() -> None:
    torch.set_num_threads(2)
    for _ in range(30):
        Pace().step(1e9, 1)
    assert torch.get_num_threads() == 2


def splits(cache: Path) -> DataSplits:
    dataset = open_dataset("digits", cache=cache, progress=False)
    return DataSplits(dataset, dataset.train, dataset.train, "crop")


@pytest.mark.parametrize("method", ["baseline", "cgl", "dml", "one", "okddip"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_rehearsal_leaves_no_trace(cache: Path, method: str, optimizer: Any) -> None:
    material = splits(cache)
    factory = NetworkFactory("resnet8", num_classes=10, in_channels=1, image_size=(8, 8))
    runner = StepRunner.build(create_method(method), factory, material, Settings(optimizer=optimizer, progress=False))

    def tensors() -> dict[str, torch.Tensor]:
        return {name: value for name, value in runner.method.state_dict().items() if isinstance(value, torch.Tensor)}

    before = copy.deepcopy(tensors())
    with runner.rehearsal() as (step, size):
        step()
        step()
        assert size == 64 * 64
        assert any(not torch.equal(before[name], value) for name, value in tensors().items())
        assert runner.updater.optimizer.state
    after = tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert not runner.updater.optimizer.state
    assert all(parameter.grad is None for parameter in runner.method.parameters())


def test_the_measured_number_is_used_and_saved(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    used: list[int] = []
    step = StepRunner.step

    def noted(self: StepRunner, *arguments: Any) -> None:
        used.append(torch.get_num_threads())
        step(self, *arguments)

    def measure(step: Callable[[], object], most: int) -> tuple[int, float]:
        step()
        torch.set_num_threads(3)
        return 3, 1e9

    monkeypatch.setattr(StepRunner, "step", noted)
    monkeypatch.setattr("studygroup.training.trainer.fastest_threads", measure)
    torch.set_num_threads(1)
    kept: list[dict[str, Any]] = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, saved, **where: kept.append(dict(saved)))
    train(method="baseline", student="resnet8", out=tmp_path / "auto")
    assert used[0] == 1
    assert set(used[1:]) == {3}
    assert {saved["threads"] for saved in kept} == {3}
    assert torch.get_num_threads() == 1, "a training leaves the process as it was"


def test_measuring_changes_no_result(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("studygroup.training.trainer.available_cpus", lambda: 1)
    automatic = train(method="cgl", student="resnet8", out=tmp_path / "auto")
    given = train(method="cgl", student="resnet8", threads=1, out=tmp_path / "given")
    for name in automatic.names():
        assert automatic.files.weights(name).read_bytes() == given.files.weights(name).read_bytes()


def test_a_resumed_run_takes_its_number_of_threads(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(*_: object) -> None:
        raise Killed

    def two(*_: object) -> tuple[int, float]:
        torch.set_num_threads(2)
        return 2, 1e9

    with monkeypatch.context() as patch:
        patch.setattr("studygroup.training.trainer.MetricsLog.append", kill)
        patch.setattr("studygroup.training.trainer.fastest_threads", two)
        with pytest.raises(Killed):
            train(method="baseline", student="resnet8")
    used: set[int] = set()
    step = StepRunner.step

    def noted(self: StepRunner, *arguments: Any) -> None:
        used.add(torch.get_num_threads())
        step(self, *arguments)

    monkeypatch.setattr(StepRunner, "step", noted)
    torch.set_num_threads(1)
    train(method="baseline", student="resnet8", resume=True)
    assert used == {2}


def test_given_numbers(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measure(*_: object) -> None:
        raise AssertionError("nothing is to be measured")

    monkeypatch.setattr("studygroup.training.trainer.fastest_threads", measure)
    train(method="baseline", student="resnet8", threads=2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    train(method="baseline", student="resnet8", out=tmp_path / "environment")


def test_the_container_limits_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cpus", lambda: 2)
    torch.set_num_threads(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    threads.limit_threads()
    assert torch.get_num_threads() == 4
    monkeypatch.delenv("OMP_NUM_THREADS")
    threads.limit_threads()
    assert torch.get_num_threads() == 2


def test_available_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert threads.available_cpus() == 1
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT")
    assert 1 <= threads.available_cpus() <= (os.cpu_count() or 1)


def test_the_option(tmp_path: Path) -> None:
    assert TrainOptions(data="digits").threads is None
    assert TrainOptions.from_plain({"data": "digits", "threads": "auto"}).threads is None
    with pytest.raises(studygroup.UserError, match="threads is 0; it must be at least 1"):
        studygroup.train("digits", threads=0, out=tmp_path, **SMALL)


def test_trainings_on_a_gpu_ask_for_repeatable_algorithms() -> None:
    def settings() -> tuple[bool, bool, bool]:
        memory: Any = torch.utils.deterministic
        return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic, memory.fill_uninitialized_memory

    before = settings()
    with repeatable(torch.device("cuda")):  # only sets flags
        assert settings() == (True, True, False)
    assert settings() == before
    with repeatable(torch.device("cpu")):
        assert settings() == before
