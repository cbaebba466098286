"""Born-again networks: the chain of generations, the losses, and the ensemble of all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import studygroup
from studygroup.clock import Clock
from studygroup.losses import cross_entropy, decoupled_kl, soft_kl
from studygroup.methods import BornAgain, create_method
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Run
from tests.methods.tiny import batch_for, maker, tiny, trained_teacher


def generation(number: int, **options: Any) -> BornAgain:
    """The method of a generation, with networks for those before it."""
    method = create_method("born_again", {"generations": number, **options})
    teachers = [trained_teacher(), tiny(), tiny()][: number - 1]
    method.build(maker(teacher=teachers[0] if teachers else None, more_teachers=teachers[1:]))
    assert isinstance(method, BornAgain)
    return method.train()


def test_each_generation_is_taught_by_those_before() -> None:
    stages = BornAgain(generations=3, weight=0.5).stages()
    assert [stage.name for stage in stages] == ["generation1", "generation2", "train"]
    assert [stage.teachers for stage in stages] == [(), ("generation1",), ("generation1", "generation2")]
    assert [stage.method.options()["generations"] for stage in stages] == [1, 2, 3]
    assert all(stage.method.options()["weight"] == 0.5 for stage in stages)
    assert all(stage.starts_from is None and stage.network is None for stage in stages)
    (only,) = BornAgain(generations=1).stages()
    assert only.teachers == ()


@pytest.mark.parametrize(("options", "loss"), [
    ({}, lambda s, t, y: soft_kl(s, t, 1.0)),
    ({"weight": 0.3, "label_weight": 0.7, "temperature": 2.0}, lambda s, t, y: 0.3 * soft_kl(s, t, 2.0)),
    ({"logit_loss": "dkd"}, lambda s, t, y: decoupled_kl(s, t, y, temperature=1.0)),
])  # fmt: skip
def test_losses_against_the_formula(options: dict[str, Any], loss: Any) -> None:
    method = generation(3, **options)
    batch = batch_for(method)
    (losses,) = method.step(batch, Clock())
    twin = generation(3, **options)
    student, before = twin.group[0](batch.inputs), method.earlier[-1](batch.inputs)
    torch.testing.assert_close(losses["student0/cross_entropy"], options.get("label_weight", 1.0) * cross_entropy(student, batch.labels))
    torch.testing.assert_close(losses["student0/distillation"], loss(student, before, batch.labels))


def test_the_first_generation_learns_from_the_labels_alone() -> None:
    method = generation(1, label_weight=0.5)
    batch = batch_for(method)
    (losses,) = method.step(batch, Clock())
    assert set(losses) == {"student0/cross_entropy"}
    torch.testing.assert_close(losses["student0/cross_entropy"], cross_entropy(generation(1).group[0](batch.inputs), batch.labels))
    assert set(method.logits(batch.inputs)) == {"student0"}


def test_the_generations_are_an_ensemble() -> None:
    method = generation(3).eval()
    batch = batch_for(method)
    found = method.logits(batch.inputs)
    assert list(found) == ["student0", "generations"]
    each = [method.group[0](batch.inputs), *(network(batch.inputs) for network in method.earlier)]
    torch.testing.assert_close(found["generations"].exp(), sum(z.softmax(-1) for z in each) / 3)


def test_a_run_trains_its_generations(tmp_path: Path, digits: Callable[..., Run]) -> None:
    run = digits(method="born_again", method_options={"generations": 2}, out=tmp_path / "run")
    stage = Run(RunFiles(tmp_path / "run").stage("generation1"))
    assert stage.result["selected"]["member"] == "student0"
    assert run.result["method"] == stage.result["method"] == "born_again"
    assert set(run.result["last"]["test"]) >= {"student0", "generations"}
    assert set(stage.result["last"]["test"]) == {"student0"}


@pytest.fixture
def digits(tmp_path: Path) -> Callable[..., Run]:
    def run(**arguments: Any) -> Run:
        small: dict[str, Any] = {"preset": "none", "epochs": 1, "train_size": 96, "holdout": 32, "batch_size": 32, "precision": "float32"}
        given = small | {"cache": tmp_path / "cache", "linear_model": False, "progress": False} | arguments
        return studygroup.train("digits", **given)

    return run
