"""Runs of several stages: order, teachers, initial weights, interruption and resumption."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import studygroup
from studygroup import UserError, config
from studygroup.cli import main
from studygroup.methods import AB, DGKD, TAKD, Baseline, create_method
from studygroup.options import TrainOptions
from studygroup.pipeline.stages import Stage, resolve_stages
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Run
from studygroup.training import Settings
from studygroup.training.fit import weights_digest
from studygroup.training.trainer import Interrupted, Trainer
from tests.training.conftest import SMALL
from tests.training.test_resume import assert_same, stop_at

ASSISTED = {"method": "takd", "teacher": "resnet14", "teacher_epochs": 1, "epochs": 1}
TWO = {"assistants": ["resnet14", "resnet8"], "assistant_epochs": 2}


@pytest.fixture(autouse=True)
def shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYGROUP_CACHE", str(cache))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Filled with the names of the stages that are trained, in order."""
    titles: list[str] = []
    original = Trainer.run

    def counted(self: Trainer, *, resume: bool = False) -> Any:
        titles.append(self.title)
        return original(self, resume=resume)

    monkeypatch.setattr(Trainer, "run", counted)
    return titles


def teachers_of(folder: Path) -> list[str]:
    """Return the digests of a run's teachers."""
    identity = json.loads(RunFiles(folder).result.read_text())["identity"]
    return str(identity["teacher"]).split()


def requested(method: Any, **settings: Any) -> Stage:
    return Stage("train", method, "name", "resnet8", Settings(**settings), (), ("teacher",))


# ---------------------------------------------------------------- order


@pytest.mark.parametrize("name", ["takd", "dgkd"])
def test_assistants_are_trained_in_order_each_by_those_before_it(
    name: str, train: Callable[..., Run], tmp_path: Path, trained: list[str]
) -> None:
    run = train(**{**ASSISTED, "method": name}, method_options=TWO)
    assert trained == ["teacher", "assistant1", "assistant2", "train"]
    folders = [tmp_path / "run" / "stages" / stage for stage in trained[:3]] + [tmp_path / "run"]
    results = [Run(folder).result for folder in folders]
    assert [result["student"] for result in results] == ["resnet14", "resnet14", "resnet8", "resnet8"]
    assert [result["method"] for result in results] == ["baseline", name, name, name]
    assert [result["epochs"] for result in results] == [1, 2, 2, 1]
    assert [result["identity"]["options"].get("assistants") for result in results] == [None, [], ["resnet14"], ["resnet14", "resnet8"]]
    left = [weights_digest(Run(folder).best.network) for folder in folders]
    learnt = [teachers_of(folder) for folder in folders[1:]]
    assert learnt == ([[left[0]], [left[1]], [left[2]]] if name == "takd" else [left[:1], left[:2], left[:3]])
    assert set(run.members) == {"student0"}
    assert len(set(left)) == 4


def test_a_trained_run_and_one_assistant(train: Callable[..., Run], teacher: Path, tmp_path: Path, trained: list[str]) -> None:
    train(method="takd", teacher=teacher, method_options={"assistants": ["resnet8"]}, epochs=1)
    assert trained == ["assistant1", "train"]
    assert teachers_of(tmp_path / "run" / "stages" / "assistant1") == [weights_digest(Run(teacher).best.network)]
    again = config.load(tmp_path / "run" / "config.yaml", TrainOptions)
    assert again["method_options"] == {**TAKD().options(), "assistants": ["resnet8"]}
    studygroup.train(str(again.pop("data")), **{**again, "out": tmp_path / "again"})  # type: ignore[arg-type]
    assert_same(tmp_path / "run", tmp_path / "again")


def test_assistants_on_the_command_line_need_no_brackets(teacher: Path, tmp_path: Path, trained: list[str]) -> None:
    words = ["train", "digits", "--method", "dgkd", "--teacher", str(teacher), "--method.assistants", "resnet8,resnet8", "--epochs", "1"]
    small = ["--train-size", "64", "--holdout", "20", "--no-progress", "--out", str(tmp_path / "run")]
    assert main([*words, *small]) == 0
    assert trained == ["assistant1", "assistant2", "train"]
    with pytest.raises(UserError, match="assistants is 3; it must be a list"):
        create_method("dgkd", {"assistants": 3})


def test_settings_of_earlier_stages() -> None:
    settings: dict[str, Any] = {
        "epochs": 8,
        "warmup": 2.0,
        "schedule": "milestones",
        "milestones": (4,),
        "learning_rate_scales": {"student0": 2.0},
    }
    chain = resolve_stages(requested(DGKD(assistants=["resnet20"]), **settings))
    assert [stage.settings.epochs for stage in chain] == [8, 8]
    assert [stage.settings.learning_rate_scales for stage in chain] == [None, {"student0": 2.0}]
    shorter = requested(TAKD(assistants=["resnet14"], assistant_epochs=4), **settings)
    assistant, last = resolve_stages(shorter)
    assert (assistant.settings.epochs, last.settings.epochs) == (4, 8)
    assert assistant.settings.milestones == tuple(stop // 2 for stop in last.settings.milestones)
    assert assistant.settings.warmup == last.settings.warmup / 2
    first, second = resolve_stages(requested(AB(initial_epochs=3, initial_learning_rate=0.02), **settings))
    assert (first.name, first.starts_from, second.starts_from) == ("initial", None, "initial")
    assert first.teachers == second.teachers == ("teacher",)
    assert (first.settings.epochs, second.settings.epochs) == (3, 8)
    rates = [first.settings.learning_rate * first.settings.rate(epoch, epoch + 0.5) for epoch in range(3)]
    assert rates == [0.02] * 3, "constant, without warm-up"
    assert second.settings == Settings(**settings)
    assert resolve_stages(requested(AB(), learning_rate=0.03))[0].settings.learning_rate == 0.03


def test_a_subclass_has_the_stages_of_its_method() -> None:
    class Mine(TAKD):
        """A user's method."""

    stages = resolve_stages(requested(Mine(assistants=["resnet20"])))
    assert [type(stage.method) for stage in stages] == [Mine, Mine]
    assert [stage.name for stage in resolve_stages(requested(Baseline()))] == ["train"]


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize(("name", "modules"), [("ab", []), ("fsp", []), ("ft", ["paraphraser"])])
def test_the_second_stage_starts_from_what_the_first_left(
    name: str, modules: list[str], train: Callable[..., Run], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, started = Trainer.run, {}

    def record_weights(self: Trainer, *, resume: bool = False) -> Any:
        started[self.title] = {key: value.clone() for key, value in self.method.state_dict().items()}
        return original(self, resume=resume)

    monkeypatch.setattr(Trainer, "run", record_weights)
    train(method=name, teacher=teacher, method_options={"initial_epochs": 1}, epochs=1)
    assert list(started) == ["initial", "train"]
    first = tmp_path / "run" / "stages" / "initial"
    assert [path.stem for path in (first / "modules").glob("*")] == modules
    left = Run(first).weights(RunFiles(first).weights("student0"))
    start = {key.removeprefix("group.networks.0."): value for key, value in started["train"].items() if key.startswith("group")}
    assert start.keys() == left.keys()
    assert all(torch.equal(value, left[key]) for key, value in start.items())
    initial = {key.removeprefix("group.networks.0."): value for key, value in started["initial"].items() if key.startswith("group")}
    untouched = all(torch.equal(value, left[key]) for key, value in initial.items())
    assert untouched == (name == "ft"), "ft's student waits, the others learn features"
    for name in modules:
        learnt = Run(first).weights(RunFiles(first).module(name))
        frozen = Run(tmp_path / "run").weights(RunFiles(tmp_path / "run").module(name))
        assert learnt.keys() == frozen.keys()
        for key, value in learnt.items():
            assert torch.equal(started["train"][f"{name}.network.{key}"], value)
            assert torch.equal(frozen[key], value)
            assert not torch.equal(started["initial"][f"{name}.{key}"], value)
    assert set(Run(tmp_path / "run").members) == {"student0"}


def test_the_initial_weights_are_part_of_the_identity(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"method": "ft", "teacher": teacher, "epochs": 1}
    train(**wanted, method_options={"initial_epochs": 1})
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"settings\.epochs was 1, is 2"):
        train(**wanted, method_options={"initial_epochs": 2}, resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    path = tmp_path / "run" / "stages" / "initial" / "modules" / "paraphraser.safetensors"
    result = path.parents[1] / "result.json"
    without_digests = {**json.loads(result.read_text()), "modules": {}}  # as of an earlier version: they would be noticed first
    result.write_text(json.dumps(without_digests))
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file({key: value + 1 for key, value in weights.items()}, path)
    with pytest.raises(UserError, match=r"cannot resume: .*start was"):
        train(**wanted, method_options={"initial_epochs": 1}, resume=True)
    safetensors.torch.save_file({"strange": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"modules/paraphraser of .*initial does not fit"):
        train(**wanted, method_options={"initial_epochs": 1}, resume=True)
    path.write_bytes(b"torn")
    with pytest.raises(UserError, match=r"modules/paraphraser of .*initial cannot be read .*damaged"):
        train(**wanted, method_options={"initial_epochs": 1}, resume=True)


# ---------------------------------------------------------------- stopped and resumed


def three_stages(name: str) -> dict[str, Any]:
    """Return the options of a run of three stages."""
    options = {"assistants": ["resnet8"]} if name in ("takd", "dgkd") else {"initial_epochs": 1}
    return {"method": name, "teacher": "resnet8", "teacher_epochs": 1, "epochs": 1, "method_options": options}


@pytest.mark.parametrize("name", ["takd", "dgkd", "ab", "fsp", "ft"])
def test_killed_between_stages_and_resumed(
    name: str, train: Callable[..., Run], tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(**three_stages(name), out=tmp_path / "whole")
    order = list(trained)
    assert len(order) == 3
    counted, alive = Trainer.run, {"stages": 1}

    def stop_after_stages(self: Trainer, *, resume: bool = False) -> Any:
        if not alive["stages"]:
            raise Interrupted("killed")
        alive["stages"] -= 1
        return counted(self, resume=resume)

    trained.clear()
    monkeypatch.setattr(Trainer, "run", stop_after_stages)
    for _ in range(2):
        alive["stages"] = 1
        with pytest.raises(Interrupted):
            train(**three_stages(name), out=tmp_path / "resumed", resume=True)
    alive["stages"] = 1
    train(**three_stages(name), out=tmp_path / "resumed", resume=True)
    assert trained == order, "no stage is trained twice"
    train(**three_stages(name), out=tmp_path / "resumed", resume=True)
    assert trained == order
    assert_same(tmp_path / "whole", tmp_path / "resumed")
    for stage in order[:-1]:
        assert_same(tmp_path / "whole" / "stages" / stage, tmp_path / "resumed" / "stages" / stage)


def test_the_hint_after_an_interrupted_stage_resumes_the_run(
    train: Callable[..., Run], tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {**three_stages("takd"), "epochs": 2}
    train(**wanted, out=tmp_path / "whole")
    trained.clear()
    stop_at(monkeypatch, 1, 2)  # the teacher has one epoch, so in the assistant's second
    with pytest.raises(Interrupted) as caught:
        train(**wanted)
    assert trained == ["teacher", "assistant1"]
    hint = str(caught.value).partition("Continue with: ")[2]
    assert hint == f"studygroup train --config {tmp_path}/run/config.yaml --out {tmp_path}/run --resume"
    assert main(shlex.split(hint)[1:]) == 0
    assert trained == ["teacher", "assistant1", "assistant1", "train"]
    assert_same(tmp_path / "whole", tmp_path / "run")
    assert_same(tmp_path / "whole" / "stages" / "assistant1", tmp_path / "run" / "stages" / "assistant1")


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "takd"}, "takd has no assistants; give networks"),
        ({"method": "dgkd"}, "dgkd has no assistants; give networks"),
        ({"method": "takd", "method_options": {"assistants": ["resnet33"]}}, "unknown network 'resnet33'"),
        ({"method": "takd", "method_options": {"assistants": ["resnet20", "vgg9"]}}, "unknown network 'vgg9'"),
        ({"method": "dgkd", "method_options": {"assistants": ["vgg8"]}, "stem": "large"}, "vgg8"),
        ({"method": "dgkd", "method_options": {"assistants": [__name__ + ":nobody"]}}, "nobody"),
        ({"method": "takd", "method_options": {"assistants": ["resnet8"]}, "teacher": None}, "takd needs a teacher"),
        ({"method": "fsp", "teacher": "wrn_16_2"}, "networks of the same widths"),
        ({"method": "ab", "method_options": {"student_layers": ["stage9"]}}, "student_layers: .*stage9"),
        ({"method": "ft", "teacher": None}, "ft needs a teacher"),
    ],
)
def test_stages_that_cannot_run_are_refused_before_training(
    arguments: dict[str, Any], words: str, train: Callable[..., Run], tmp_path: Path, trained: list[str]
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        train(**{"teacher": "resnet14", **arguments})
    assert "\n" not in str(caught.value)
    assert not trained
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "options"), [("dgkd", {"assistants": ["resnet14"]}), ("ft", {})])
def test_a_benchmark_measures_the_last_stage(name: str, options: dict[str, Any], trained: list[str]) -> None:
    data = {key: SMALL[key] for key in ("train_size", "holdout", "batch_size", "progress", "precision")}
    found = studygroup.benchmark("digits", method=name, method_options=options, teacher="resnet14", steps=1, repeats=1, **data)
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == ["resnet8 alone", name]
    assert not trained
