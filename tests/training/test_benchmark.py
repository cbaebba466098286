"""What a group costs: `studygroup.benchmark`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import studygroup
from studygroup import CGL, DML, UserError
from studygroup.commands.benchmark import with_students
from studygroup.data import open_dataset
from studygroup.methods import Baseline
from studygroup.networks import NetworkFactory, create, parameter_count
from studygroup.training import DataSplits, Settings, StepRunner, Trainer
from studygroup.training.timed_trainer import TimedTrainer, compare
from tests.methods.tiny import tiny

QUICK: dict[str, Any] = {"steps": 1, "repeats": 2, "train_size": 160, "batch_size": 32, "progress": False, "precision": "float32"}


@pytest.fixture
def benchmark(cache: Path) -> Callable[..., dict[str, Any]]:
    """Measure briefly on digits."""

    def run(**arguments: Any) -> dict[str, Any]:
        return studygroup.benchmark(arguments.pop("data", "digits"), **{**QUICK, "cache": cache, **arguments})

    return run


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result["rows"]}


def test_a_group_beside_the_student_alone(
    benchmark: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = benchmark(method_options={"students": 8, "temperature": 2.0}, epochs=7)
    rows = by_name(result)
    probabilities = {8: "0.25", 2: "1", 4: "0.583", 16: "0.117"}
    assert list(rows) == ["resnet8 alone", *(f"cgl, {size} students, p = {p}" for size, p in probabilities.items())]
    reason = result["left_out"].pop("cgl, 32 students, p = 0.0565")
    assert "has 16 distinct routes" in reason, "routes through resnet8"
    assert result["left_out"] == {}
    alone, *groups = result["rows"]
    assert (alone["ratio"], alone["ratio_quartiles"]) == (1.0, [1.0, 1.0])
    assert len({row["parameters"] for row in groups if row["students"] > 2}) == 1, "parameters do not grow with the group"
    assert all(row["parameters"] <= groups[0]["parameters"] for row in groups), "routes of two students leave modules out"
    for row in groups:
        students, options = row["students"], row["options"]
        assert options["students"] == students
        assert options["probability"] * (students - 1) == pytest.approx(1.75 if students > 2 else 1.0)
        assert options["temperature"] == 2.0
        assert row["memory"] > alone["memory"]
    for row in result["rows"]:
        assert row["steps_per_epoch"] == 5
        assert row["seconds_per_epoch"] == pytest.approx(5 * row["seconds_per_step"])
        assert row["samples_per_second"] == pytest.approx(32 / row["seconds_per_step"])
        assert row["ratio_quartiles"][0] <= row["ratio_quartiles"][1]
    assert (result["steps"], result["repeats"], result["epochs"], result["training_samples"]) == (1, 2, 7, 160)
    assert result["machine"]["versions"]["torch"]
    json.dumps(result)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_other_methods(benchmark: Callable[..., dict[str, Any]], teacher: Path) -> None:
    assert list(by_name(benchmark(method="dml", group_sizes=[3, 2]))) == ["resnet8 alone", "dml, 2 students", "dml, 3 students"]
    assert list(by_name(benchmark(method="dml", peers=["resnet14"]))) == ["resnet8 alone", "dml, 2 students"]
    assert list(by_name(benchmark(method="kd", teacher="resnet14"))) == ["resnet8 alone", "kd"]
    assert list(by_name(benchmark(method="kd", teacher=teacher))) == ["resnet8 alone", "kd"]
    assert list(by_name(benchmark(method=studygroup.ORC(students=2), teacher="resnet8"))) == ["resnet8 alone", "orc, 2 students"]
    assert list(by_name(benchmark(method="baseline"))) == ["resnet8 alone", "baseline"]
    assert list(by_name(benchmark(method=DML(students=2), student=tiny, augment="none"))) == [
        "tests.methods.tiny:tiny alone",
        "dml, 2 students",
    ]


def test_a_teacher_is_not_trained(benchmark: Callable[..., dict[str, Any]]) -> None:
    rows = by_name(benchmark(method="orc", teacher="resnet14", method_options={"students": 2}))
    networks = [parameter_count(create(name, 10, 1)) for name in ("resnet8", "resnet8", "resnet14")]
    assert rows["orc, 2 students"]["parameters"] == sum(networks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "digts"}, "unknown data set 'digts'; did you mean digits"),
        ({"student": "resnet9"}, "unknown network 'resnet9'"),
        ({"method": "dml", "peers": ["resnet9"]}, "unknown network 'resnet9'"),
        ({"method": "cgll"}, "unknown method 'cgll'; did you mean cgl"),
        ({"method_options": {"student": 3}}, "unknown option of cgl 'student'; did you mean students"),
        ({"method": "kd"}, "kd needs a teacher"),
        ({"method": "dml", "teacher": "resnet8"}, "dml takes no teacher"),
        ({"method": "kd", "teacher": "resnet9"}, "neither a run folder nor a network"),
        ({"batch_size": 4}, "batch_size is 4 for 8 students"),
        ({"method": "orc", "teacher": "resnet8", "microbatches": 2}, "cannot be split"),
        ({"method": "kd", "teacher": "resnet8", "group_sizes": [2]}, "kd has no number of students; leave group_sizes out"),
        ({"method": "dml", "peers": ["resnet14"], "group_sizes": [4]}, "the peers determine the number of students"),
        ({"group_sizes": [4, 0]}, "group_sizes is 0; it must be at least 1"),
        ({"steps": 0}, "steps is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"method": CGL(students=2), "method_options": {"students": 3}}, "are given beside a method object"),
    ],
)
def test_what_cannot_work(benchmark: Callable[..., dict[str, Any]], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        benchmark(**arguments)


def test_other_numbers_of_students_keep_everything_else() -> None:
    assert with_students(DML(students=2, temperature=2.0), 5).options() == DML(students=5, temperature=2.0).options()
    resized = with_students(CGL(students=8, probability=0.25, modules=3), 15)
    assert resized.options() == {**CGL(students=15, modules=3).options(), "probability": 0.125}
    assert with_students(CGL(students=8, probability=0.25), 1).options()["probability"] == 0.0
    assert with_students(CGL(students=1, probability=0.25), 4).options()["probability"] == 0.0


def digits(cache: Path, samples: int) -> DataSplits:
    dataset = open_dataset("digits", cache=cache, progress=False)
    return DataSplits(dataset, dataset.train.take(np.arange(samples)), dataset.train.take(np.arange(samples, samples + 20)), "crop")


def test_a_step_is_the_trainers(cache: Path, tmp_path: Path) -> None:
    """After as many steps the weights are those of a run, bit for bit."""
    splits = digits(cache, 128)
    settings = Settings(epochs=1, batch_size=32, precision="float32", progress=False)
    timed = TimedTrainer("group", CGL(students=2), NetworkFactory("resnet8", num_classes=10, in_channels=1), splits, settings)
    assert timed.batch_size == 32
    timed.run(1)
    method = CGL(students=2)
    method.build(NetworkFactory("resnet8", num_classes=10, in_channels=1))
    trainer = Trainer(StepRunner(method, splits.train, timed.runner.transform, settings), splits.holdout, tmp_path, identity={})
    assert trainer.runner.batches.steps() == 4, "two to warm up, one to measure the memory, one to run"
    trainer.run()
    for name, value in trainer.method.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(timed.runner.method.state_dict()[name], value), name


def test_batches_that_an_epoch_cuts_short_are_left_out(cache: Path) -> None:
    splits = digits(cache, 80)
    settings = Settings(epochs=2, batch_size=32, precision="float32", progress=False)
    networks = NetworkFactory(tiny, num_classes=10, in_channels=1)
    timed = TimedTrainer("alone", Baseline(), networks, splits, settings)
    sizes: list[int] = []
    step = timed.runner.updater.step

    def noting(batch: Any, clock: Any, meter: Any) -> None:
        sizes.append(len(batch))
        step(batch, clock, meter)

    timed.runner.updater.step = noting  # type: ignore[method-assign]
    timed.run(7)
    assert sizes == [32] * 7


def test_the_number_of_steps_follows_from_the_time_that_one_takes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """Takes 2 seconds a step, by its own account."""

        name, parameters, memory, batch_size = "slow", 1, None, 10

        def __init__(self) -> None:
            self.asked: list[int] = []
            self.runner: Any = type("Trainer", (), {})()
            self.runner.batches = type("Batches", (), {"steps": lambda _: 100})()
            self.runner.method = type("Method", (), {"group": [0]})()

        def run(self, steps: int) -> float:
            self.asked.append(steps)
            return 2.0 * steps

    timed: Any = Slow()
    [cost], steps = compare([timed], repeats=5)
    assert steps == 5, "5 repetitions of 5 steps of 2 seconds are 50"
    assert timed.asked == [1, 5, 5, 5, 5, 5]
    assert (cost.seconds_per_step, cost.seconds_per_epoch, cost.samples_per_second) == (2.0, 200.0, 5.0)
    assert compare([timed], repeats=100)[1] == 1, "at least one"
