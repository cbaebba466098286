"""Averages of weights: against a loop, in runs, and after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from studygroup.methods import Method
from studygroup.runs.member import Run
from studygroup.training.members import PREFIX, Members
from studygroup.training.updater import Updater
from tests.methods.tiny import built_method, inputs_for, optimizer_of
from tests.methods.tiny import train as train_method
from tests.training.test_resume import Killed, assert_same, kill

DECAY = 0.6


@pytest.mark.parametrize(("name", "options"), [("baseline", {}), ("dml", {}), ("cgl", {"students": 3}), ("one", {}), ("okddip", {})])
def test_against_a_loop(name: str, options: dict[str, Any]) -> None:
    method = built_method(name, options)
    members = Members(method, DECAY)
    expected = {key: value.clone() for key, value in exported(method).items()}
    optimizer = optimizer_of(method)
    for step in range(1, 9):
        train_method(method, optimizer, range(step - 1, step))
        members.update(step)
        decay = min(DECAY, (1 + step) / (10 + step))
        for key, value in exported(method).items():
            average = decay * expected[key].double() + (1 - decay) * value.double()
            expected[key] = average.to(value.dtype) if value.is_floating_point() else value.clone()
    changed = 0
    for key, value in exported(method).items():
        member, _, tensor = key.partition(" ")
        found = members.export(PREFIX + member).state_dict()[tensor]
        torch.testing.assert_close(found, expected[key], rtol=1e-5, atol=1e-6)
        changed += not torch.equal(found, value)
    assert changed > 5


def exported(method: Method) -> dict[str, torch.Tensor]:
    """Weights and statistics of the candidates as plain networks."""
    return {f"{name} {key}": value for name in method.candidates for key, value in method.export(name).state_dict().items()}


@pytest.mark.parametrize("name", ["baseline", "cgl"])
def test_logits_are_those_of_the_exported_average(name: str) -> None:
    method = built_method(name)
    members = Members(method, DECAY)
    train_method(method, optimizer_of(method), range(3))
    members.update(1)
    inputs = inputs_for(method, 6, seed=3)
    method.eval()
    logits = members.logits(inputs)
    assert set(logits) == set(members.names())
    for member in members.names():
        torch.testing.assert_close(logits[member], members.export(member).eval()(inputs))


def test_what_is_no_member_is_shared() -> None:
    method = built_method("kd")
    average = Members(method, DECAY).average
    assert average is not None
    assert average.method.teacher is method.teacher
    assert average.method.group is not method.group


@pytest.mark.parametrize(("method", "own"), [("baseline", {}), ("cgl", {"method_options": {"students": 3}})])
def test_the_other_members_have_the_same_bits(method: str, own: dict[str, Any], train: Callable[..., Run], tmp_path: Path) -> None:
    common = {"method": method, "threads": 1, **own}
    plain, averaged = train(**common, out=tmp_path / "plain"), train(**common, ema=0.5, out=tmp_path / "averaged")
    students = [name for name in plain.names() if name != "best"]
    assert averaged.result["candidates"] == [*students, *(PREFIX + name for name in students)]
    for name in students:
        assert plain.files.weights(name).read_bytes() == averaged.files.weights(name).read_bytes()
        card = json.loads(averaged.files.card(PREFIX + name).read_text())
        assert (card["network"], card["epoch"]) == ("resnet8", 2)
    for line in averaged.files.metrics.read_text().splitlines():
        assert set(json.loads(line)["holdout"]) == {*averaged.result["candidates"], *(["ensemble"] if len(students) > 1 else [])}
    assert averaged.member(PREFIX + "student0").predict(torch.zeros(8, 8, dtype=torch.uint8))


def test_the_average_is_selected_and_evaluated(train: Callable[..., Run]) -> None:
    run = train(method="baseline", ema=0.9, learning_rate=0.5, schedule="constant", recalibrate_bn=True, epochs=3)
    scores = [json.loads(line)["holdout"] for line in run.files.metrics.read_text().splitlines()]
    best = max(scores[epoch][name] for epoch in range(3) for name in run.result["candidates"])
    selected = run.result["selected"]
    assert selected["holdout"] == best == scores[selected["epoch"] - 1][selected["member"]]
    assert set(run.result["last"]["test"]) == {"student0", "ema_student0"}


def test_killed_and_resumed(train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: dict[str, Any] = {
        "method": "cgl",
        "method_options": {"students": 3},
        "ema": 0.8,
        "patience": 1,
        "epochs": 4,
        "label_smoothing": 0.1,
        "class_weights": "balanced",
        "sampling": "balanced",
        "decay_norm_bias": False,
        "checkpoint_steps": 2,
        "threads": 1,
    }
    train(**wanted, out=tmp_path / "whole")
    original, steps = Updater.step, []

    def mortal(self: Updater, *arguments: Any) -> None:
        steps.append(1)
        if len(steps) in (4, 8):
            kill()
        original(self, *arguments)

    monkeypatch.setattr(Updater, "step", mortal)
    for _ in range(2):
        with pytest.raises(Killed):
            train(**wanted, out=tmp_path / "parts", resume=True)
    train(**wanted, out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert (tmp_path / "parts" / "members" / "ema_student2.safetensors").is_file()
