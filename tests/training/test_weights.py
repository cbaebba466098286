"""Runs that start from weights: what is loaded, the normalisation, resume, and bad input."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from studygroup import UserError
from studygroup.methods import create_method
from studygroup.networks.factory import NetworkFactory, build_network
from studygroup.networks.starts import Start, describe_start, is_trained
from studygroup.networks.weights import load_weights
from studygroup.options import RunOptions
from studygroup.pipeline.setup import method_of, open_splits, plan_stages, run_options, settings_of
from studygroup.pipeline.stages import network_factory
from studygroup.pipeline.weights import open_weights, with_normalisation
from studygroup.runs.member import Run
from studygroup.training.fit import load_stage_weights
from studygroup.training.optimizers import build_optimizer
from studygroup.training.settings import Settings
from studygroup.training.trainer import Interrupted
from tests.networks.reference_resnet import trained_reference
from tests.training.test_resume import assert_same, stop_at

BASE: dict[str, Any] = {"method": "dml", "student": "resnet8", "threads": 1, "epochs": 1}


def test_start_from_a_run(train: Callable[..., Run], teacher: Path, cache: Path) -> None:
    run = train(**BASE, weights=str(teacher))
    first, second = (json.loads(run.files.card(name).read_text()) for name in ("student0", "student1"))
    assert first["starts_from"] == f"weights of {teacher}"
    assert second["starts_from"] == "initialisation 1 of seed 0"
    assert run.result["identity"]["weights"]["student0"]
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
    with pytest.raises(UserError, match=r"weights\.student0 was"):
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
    ("source", "message"),
    [
        ("hf:folder", r"there is no .*folder.config\.json"),
        ("timm:resnet18", r"write timm:resnet18@pretrained"),
        ({"studnt0": "a"}, "unknown member to load weights into 'studnt0'; did you mean student0"),
        ({"student": "a", "student0": "b"}, "both student and student0"),
        ({"teacher": "a"}, "no --teacher NETWORK"),
        (3, "weights is a int; give a path, or a mapping"),
    ],
)
def test_sources_that_are_none(train: Callable[..., Run], source: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(**BASE, weights=source)


def fake_timm(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    def create_model(name: str, *, pretrained: bool) -> torch.nn.Module:
        assert pretrained
        if error is not None:
            raise error
        network = trained_reference("resnet18", 1000)
        network.default_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}  # type: ignore[assignment]
        return network

    module = SimpleNamespace(is_model=lambda name: name == "resnet18", list_models=lambda: ["resnet18"], create_model=create_model)
    monkeypatch.setitem(sys.modules, "timm", module)


def test_pretrained_models_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_timm(monkeypatch)
    weights = open_weights("timm:resnet18@pretrained")
    assert (weights.mean, weights.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    network = build_network("resnet18@large", num_classes=10, in_channels=3)
    assert "left out, newly initialised: classifier.bias, classifier.weight" in load_weights(network, weights).line
    with pytest.raises(UserError, match="unknown model of timm 'resnet81'; did you mean resnet18"):
        open_weights("timm:resnet81@pretrained")
    fake_timm(monkeypatch, OSError("no route to host"))
    with pytest.raises(UserError, match=r"cannot load the pretrained weights of resnet18 \(no route to host\); download them"):
        open_weights("timm:resnet18@pretrained")


def test_weights_and_a_frozen_part_of_every_member(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    source = str(Run(teacher).files.weights("best"))
    both = {"student0": str(teacher), "student1": source}
    run = train(**BASE, weights=both, freeze="stage1", trained_rate_scale=0.5)
    cards = [json.loads(run.files.card(name).read_text()) for name in ("student0", "student1")]
    assert [card["starts_from"] for card in cards] == [f"weights of {teacher}", f"weights of {source}"]
    given, trained = Run(teacher).best.network.state_dict(), run.member("student1").network.state_dict()
    same = [name for name in given if torch.equal(given[name], trained[name])]
    assert {name.split("_")[0].split(".")[0] for name in same if "num_batches" not in name} == {"stem", "stage1"}
    assert yaml.safe_load(run.files.config.read_text())["weights"] == both


def test_the_learning_rate_of_what_was_trained(teacher: Path) -> None:
    weights = open_weights(str(teacher))
    method = create_method("baseline", {})
    method.build(NetworkFactory("resnet8", num_classes=7, in_channels=1, start=Start({"student0": weights})))
    optimizer = build_optimizer(Settings(trained_rate_scale=0.1, decay_norm_bias=False), method.parameter_sets(), method)
    head = {id(parameter) for parameter in method.group[0].get_submodule("classifier").parameters()}
    for group in optimizer.param_groups:
        assert group["scale"] == (1.0 if {id(parameter) for parameter in group["params"]} <= head else 0.1)
    assert len(optimizer.param_groups) == 4


def test_a_later_stage_keeps_the_rate_of_a_new_head(teacher: Path) -> None:
    weights = replace(open_weights(str(teacher)), classes=("other",))
    start, classes = Start({"student0": weights}), [str(number) for number in range(10)]
    method = create_method("baseline", {})
    method.build(NetworkFactory("resnet8", num_classes=10, in_channels=1, classes=classes, start=start))
    load_stage_weights(method, Run(teacher))
    network = method.group[0]
    assert {name for name, parameter in network.named_parameters() if not is_trained(parameter)} == {"classifier.weight", "classifier.bias"}
    assert describe_start(network) == "the weights of the stage run"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": "stem"}, "freeze is stem, but no student starts from trained weights"),
        ({"trained_rate_scale": 0.1}, "trained_rate_scale is 0.1, but no network starts from trained weights"),
        ({"teacher_epochs": 0}, "teacher_epochs is 0, but there is no teacher"),
        ({"weights": {"teacher": "{run}"}}, "no --teacher NETWORK"),
        ({"weights": {"student5": "{run}"}}, "unknown student to load weights into 'student5'; did you mean student1 or student0"),
        ({"weights": "{run}", "freeze": "stage8"}, "unknown stage of resnet8 to freeze 'stage8'"),
    ],
)
def test_options_that_have_no_effect(
    train: Callable[..., Run], teacher: Path, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(item) for name, item in value.items()}
        return str(teacher) if value == "{run}" else value

    with pytest.raises(UserError, match=message):
        train(**BASE, **filled(options))
    assert not (tmp_path / "run").exists()


def test_a_teacher_with_weights(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    """Not trained further, it is the teacher itself; else the run of its stage starts from them."""
    common = {"student": "resnet8", "threads": 1, "epochs": 1}
    weights = {"teacher": str(Run(teacher).files.weights("best"))}
    network = Run(teacher).best.card["network"]
    by_weights = train(method="kd", **common, teacher=network, weights=weights, teacher_epochs=0, out=tmp_path / "weights")
    by_run = train(method="kd", **common, teacher=str(teacher), out=tmp_path / "by_run")
    first, second = by_weights.best.network.state_dict(), by_run.best.network.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (by_weights.folder / "stages").exists()
    tuned = train(method="orc", **common, teacher=network, weights={"pivot": weights["teacher"]}, out=tmp_path / "tuned")
    stage = Run(tuned.files.stage("teacher"))
    assert json.loads(stage.files.card("student0").read_text())["starts_from"] == f"weights of {weights['teacher']}"
    assert json.loads(tuned.files.card("pivot").read_text())["starts_from"] == "the teacher's weights"


def test_weights_in_the_folder_that_is_overwritten(train: Callable[..., Run]) -> None:
    run = train(**BASE)
    before = run.files.weights("best").read_bytes()
    for source in (run.folder, run.files.weights("best")):
        with pytest.raises(UserError, match="which would be overwritten; give another --out"):
            train(**BASE, weights=str(source), overwrite=True)
    assert run.files.weights("best").read_bytes() == before


def test_relative_paths(train: Callable[..., Run], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(teacher.parent)
    run = train(**BASE, weights=teacher.name)
    assert yaml.safe_load(run.files.config.read_text())["weights"] == {"student0": str(teacher)}


def test_normalisations_that_differ(teacher: Path) -> None:
    dataset = open_splits(run_options(RunOptions("digits", student="resnet8", cache=teacher.parent / "cache"))).dataset
    ours = open_weights(str(teacher))
    assert ours.mean is not None
    other = replace(ours, source="other", mean=tuple(value + 0.1 for value in ours.mean))
    assert with_normalisation(dataset, {"student0": ours, "student1": replace(ours, mean=None)}).inputs.mean == ours.mean  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="and other are of images that are normalised differently"):
        with_normalisation(dataset, {"student0": ours, "student1": other})


def test_classes_of_other_names_get_a_new_head(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8), [f"class {k % 10}" for k in range(60)]
    run = train(data=(images, labels), **BASE | {"method": "cgl"}, weights=str(teacher), train_size=40, holdout=8)
    card = json.loads(run.files.card("student0").read_text())
    assert card["starts_from"].startswith(f"weights of {teacher} (")
    assert "initialisation 0 of seed 0 (" in card["starts_from"]
    assert card["mean"] == Run(teacher).best.card["mean"], "the normalisation is that of the weights"


def test_runs_on_texts(train: Callable[..., Run], teacher: Path, tmp_path: Path) -> None:
    texts, labels = [f"{word} {k}" for k in range(30) for word in ("good", "bad")], ["yes", "no"] * 30
    small = {"method": "baseline", "student": "transformer@depth=1,embedding=8,hidden=8,heads=2,feedforward=8", "threads": 1, "epochs": 1}
    common = {**small, "train_size": 40, "holdout": 8, "linear_model": False}
    first = train(data=(texts, labels), **common, out=tmp_path / "first")
    again = train(data=(texts, labels), **common, weights=str(first.folder), out=tmp_path / "again")
    assert json.loads(again.files.card("student0").read_text())["starts_from"] == f"weights of {first.folder}"
    by_file = train(data=(texts, labels), **common, weights=str(first.files.weights("best")), out=tmp_path / "by_file")
    assert_same_weights(by_file, again)
    with pytest.raises(UserError, match=r"do not fit texts of .*; give a run on texts like these"):
        train(data=(texts, labels), **common, weights=str(teacher), out=tmp_path / "images")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(first.files.weights("best").read_bytes())
    with pytest.raises(UserError, match=r"do not fit texts of .*vocabulary"):
        train(data=(texts, labels), **common, weights=str(alone), out=tmp_path / "file")


def assert_same_weights(first: Run, second: Run) -> None:
    ours, theirs = first.best.network.state_dict(), second.best.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
