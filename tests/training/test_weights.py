"""Runs that start from weights: what is loaded, the normalisation, resume, and bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studygroup import UserError
from studygroup.options import RunOptions
from studygroup.pipeline.setup import method_of, open_splits, plan_stages, run_options, settings_of
from studygroup.pipeline.stages import network_factory
from studygroup.runs.member import Run
from studygroup.training.trainer import Interrupted
from tests.networks.reference_resnet import trained_reference
from tests.training.test_resume import assert_same, stop_at

BASE: dict[str, Any] = {"method": "dml", "student": "resnet8", "threads": 1, "epochs": 1}


def test_start_from_a_run(train: Callable[..., Run], teacher: Path, cache: Path) -> None:
    run = train(**BASE, weights=str(teacher))
    first, second = (json.loads(run.files.card(name).read_text()) for name in ("student0", "student1"))
    assert first["starts_from"].startswith(f"weights of {teacher}: ")
    assert "0 renamed, 0 left out, newly initialised: none" in first["starts_from"]
    assert "starts_from" not in second
    assert run.result["identity"]["weights"]
    options = run_options(
        RunOptions("digits", method="dml", student="resnet8", weights=str(teacher), cache=cache, train_size=160, holdout=48)
    )
    method = method_of(options)
    stage = plan_stages(options, method, settings_of(options))[-1]
    factory = network_factory(stage, open_splits(options), {})
    given, zero, one = Run(teacher).best.network.state_dict(), factory.student(0).state_dict(), factory.student(1).state_dict()
    assert all(torch.equal(given[name], zero[name]) for name in given)
    assert not all(torch.equal(given[name], one[name]) for name in given)


def test_resume_is_exact(train: Callable[..., Run], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = {**BASE, "weights": str(teacher)}
    whole = train(**common, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 0, 2)
        with pytest.raises(Interrupted):
            train(**common)
    with pytest.raises(UserError, match="weights was"):
        train(**BASE, resume=True)
    assert_same(train(**common, resume=True).folder, whole.folder)


def test_normalisation_of_a_file(train: Callable[..., Run], tmp_path: Path) -> None:
    torch.save(trained_reference("resnet18", 1000).state_dict(), tmp_path / "w.pt")
    common = {"method": "baseline", "student": "resnet18@large", "weights": str(tmp_path / "w.pt"), "epochs": 1, "threads": 1}
    with pytest.raises(UserError, match="--channels 3"):
        train(**common)
    assert not (tmp_path / "run").exists()


def test_missing(train: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no weights"):
        train(**BASE, weights=str(tmp_path / "none.pt"))
    with pytest.raises(UserError, match="holds no finished run"):
        train(**BASE, weights=str(tmp_path))


def test_train_longer(train: Callable[..., Run]) -> None:
    run = train(**BASE)
    with pytest.raises(
        UserError, match=f"is finished with 1 epochs.*--config {run.files.config} --epochs 3 --weights {run.folder} --out NEW"
    ):
        train(**{**BASE, "epochs": 3}, resume=True)
    assert Run(run.folder).result == run.result
    longer = train(**{**BASE, "epochs": 2}, weights=str(run.folder), out=run.folder.parent / "new")
    assert longer.result["epochs"] == 2


def test_images_follow_the_weights(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    card = teacher / "members" / "best.json"
    copied = tmp_path / "other"
    shutil.copytree(teacher, copied)
    found = json.loads(card.read_text())
    found["mean"], found["std"] = [0.25], [0.5]
    (copied / "members" / "best.json").write_text(json.dumps(found))
    run = train(**BASE, weights=str(copied))
    assert json.loads(run.files.card("best").read_text())["mean"] == [0.25]
    assert json.loads(run.files.card("best").read_text())["std"] == [0.5]


@pytest.mark.parametrize(
    ("source", "remedy"), [("hf:folder", "give --student hf:folder"), ("timm:resnet18@pretrained", "save its state_dict as .safetensors")]
)
def test_models_of_other_libraries(train: Callable[..., Run], source: str, remedy: str) -> None:
    with pytest.raises(UserError, match=f"the weights {source} are neither the folder of a run nor a file; {remedy}"):
        train(**BASE, weights=source)


def test_classes_of_other_names_get_a_new_head(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8), [f"class {k % 10}" for k in range(60)]
    run = train(data=(images, labels), **BASE | {"method": "cgl"}, weights=str(teacher), train_size=40, holdout=8)
    card = json.loads(run.files.card("student0").read_text())
    assert "2 left out, newly initialised: classifier.bias, classifier.weight" in card["starts_from"]
    assert card["mean"] == Run(teacher).best.card["mean"], "the normalisation is that of the weights"


def test_runs_on_texts(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    texts, labels = [f"{word} {k}" for k in range(30) for word in ("good", "bad")], ["yes", "no"] * 30
    small = {"method": "baseline", "student": "transformer@depth=1,embedding=8,hidden=8,heads=2,feedforward=8", "threads": 1, "epochs": 1}
    common = {**small, "train_size": 40, "holdout": 8, "linear_model": False}
    first = train(data=(texts, labels), **common, out=tmp_path / "first")
    again = train(data=(texts, labels), **common, weights=str(first.folder), out=tmp_path / "again")
    assert "0 left out, newly initialised: none" in json.loads(again.files.card("student0").read_text())["starts_from"]
    with pytest.raises(UserError, match=r"do not fit texts of .*; give a run on texts like these"):
        train(data=(texts, labels), **common, weights=str(teacher), out=tmp_path / "images")
    with pytest.raises(UserError, match=r"do not fit texts of .*vocabulary"):
        train(data=(texts, labels), **common, weights=str(first.files.weights("best")), out=tmp_path / "file")
