"""The options of the training recipe in runs: patience, time limit, parameter groups, dropout, weights of classes; and bad input."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import studygroup
from studygroup import UserError, config
from studygroup.networks import NetworkFactory
from studygroup.options import CompareOptions, TrainOptions
from studygroup.options.recipe import duration, show_duration
from studygroup.pipeline import planning
from studygroup.pipeline.setup import open_splits, run_options, settings_of
from studygroup.runs.member import Run
from studygroup.training.calibration import EpochCost
from studygroup.training.optimizers import build_optimizer
from studygroup.training.settings import Settings
from studygroup.training.trainer import Interrupted
from tests.methods.tiny import built_method
from tests.training.test_resume import assert_same, records, stop_at
from tests.training.test_texts import TINY, reviews, write

BASE: dict[str, Any] = {"method": "baseline", "threads": 1}


# patience


def stops_at(accuracy: list[float], cross_entropy: list[float], patience: int) -> int:
    """The number of epochs, by the rule written out."""
    best, since = (2.0, 0.0), 0
    for epoch, found in enumerate(zip([-a for a in accuracy], cross_entropy, strict=True)):
        since = 0 if found < best else since + 1
        best = min(best, found)
        if since == patience:
            return epoch + 1
    return len(accuracy)


@pytest.mark.parametrize("patience", [1, 2])
def test_patience_ends_a_run(patience: int, train: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    common = {**BASE, "epochs": 12, "learning_rate": 5.0, "nesterov": False}
    whole = train(**common, out=tmp_path / "whole")
    history = records(whole.folder)
    scores = [(record["holdout"]["student0"], record["holdout_cross_entropy"]["student0"]) for record in history]
    expected = stops_at([a for a, _ in scores], [c for _, c in scores], patience)
    assert expected < 12
    with caplog.at_level(logging.INFO, logger="studygroup"):
        run = train(**common, patience=patience, out=tmp_path / "short")
    assert records(run.folder) == history[:expected]  # the schedule is that of 12 epochs
    best = run.result["selected"]
    line = run.result["stopped_early"]
    assert line.startswith(f"stopped after {expected} of 12 epochs: no better hold-out accuracy than {best['holdout']:.2%} of epoch")
    assert line in caplog.text
    assert (run.result["epochs"], run.result["last"]["epoch"], run.member("student0").card["epoch"]) == (
        expected,
        expected,
        expected,
    )
    assert train(**common, patience=patience, out=tmp_path / "short", resume=True).result == run.result
    assert whole.result["stopped_early"] is None


# time limit


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Epochs cost 100 seconds, the end of a stage 20; the list has the measured stages."""
    stages: list[str] = []

    def measured(stage: Any, *_: Any) -> EpochCost:
        stages.append(stage.name)
        return EpochCost(100.0, 20.0)

    monkeypatch.setattr(planning, "measure_stage", measured)
    return stages


def test_a_time_limit_is_a_number_of_epochs(
    costs: list[str], train: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="studygroup"):
        limited = train(**BASE, time_limit="6m10s", epochs=None, out=tmp_path / "limited")  # 370 s: 3 epochs, 50 s are left
    assert "planned 3 epochs of 100 s within 6m10s" in caplog.text
    assert_same(train(**BASE, epochs=3, out=tmp_path / "given").folder, limited.folder)
    saved = config.load_group(limited.files.config, TrainOptions)
    assert (saved.epochs, saved.time_limit) == (3, None)
    plan = json.loads((limited.folder / "environment.json").read_text())["plan"]
    assert plan == {"epochs": 3, "seconds_per_epoch": 100.0, "time_limit": "6m10s"}


def test_given_epochs_are_the_upper_limit(costs: list[str], train: Callable[..., Run]) -> None:
    assert train(**BASE, time_limit="2h", epochs=2).result["epochs"] == 2


def test_resumed_with_the_planned_epochs(
    costs: list[str], train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: dict[str, Any] = {**BASE, "time_limit": "370s", "epochs": None, "ema": 0.9, "patience": 3}
    stop_at(monkeypatch, 1, 2)
    with pytest.raises(Interrupted):
        train(**wanted, out=tmp_path / "parts")
    monkeypatch.undo()  # from now on an epoch would be measured, and many more would be planned
    train(**wanted, out=tmp_path / "parts", resume=True)
    del wanted["time_limit"]
    assert_same(train(**{**wanted, "epochs": 3}, out=tmp_path / "whole").folder, tmp_path / "parts")


@pytest.mark.parametrize(("teacher_epochs", "expected"), [(None, (2, 2)), (1, (1, 3))])
def test_stages_share_the_limit(teacher_epochs: int | None, expected: tuple[int, int], costs: list[str], train: Callable[..., Run]) -> None:
    run = train(method="kd", teacher="resnet8", teacher_epochs=teacher_epochs, time_limit="490s", epochs=None, threads=1)
    teacher = Run(run.files.stage("teacher"))
    assert (teacher.result["epochs"], run.result["epochs"]) == expected
    assert costs == ["teacher", "train"]


def test_a_limit_shorter_than_an_epoch(costs: list[str], train: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"time_limit is 90s, but an epoch takes 100 s here, .* give at least"):
        train(**BASE, time_limit="90s")
    assert not (tmp_path / "run").exists()


def test_an_epoch_is_measured(train: Callable[..., Run]) -> None:
    run = train(**BASE, time_limit="1m", epochs=2, ema=0.9, recalibrate_bn=True, train_size=64, holdout=32)
    assert 0 < json.loads((run.folder / "environment.json").read_text())["plan"]["seconds_per_epoch"] < 20


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("1m0.5s", 60.5)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "0s", "-3m", "5 minutes", "30m1h", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UserError, match="give a duration such as 90s, 30m, 2h or 1h30m"):
        duration(text)


def test_shown_durations() -> None:
    assert [show_duration(value) for value in (0.423, 48, 210, 9000)] == ["0.423 s", "48 s", "3.5 min", "2.5 h"]


# optimizer, networks, labels


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_norms_and_biases_without_weight_decay(kind: Any) -> None:
    method = built_method("dml")
    settings = Settings(optimizer=kind, weight_decay=0.3, decay_norm_bias=False, learning_rate_scales={"student1": 0.5})
    optimizer = build_optimizer(settings, method.parameter_sets(), method)
    owners = {parameter: name for name, own in method.parameter_sets().items() for parameter in own}
    seen = 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            seen += 1
            assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)
            assert group["scale"] == (0.5 if owners[parameter] == "student1" else 1.0)
    assert seen == len(owners)
    everything = build_optimizer(Settings(optimizer=kind, weight_decay=0.3), method.parameter_sets(), method)
    assert [group["weight_decay"] for group in everything.param_groups] == [0.3, 0.3]


def test_dropout_of_networks_that_have_it() -> None:
    factory = NetworkFactory("transformer@depth=1", num_classes=2, vocabulary=20, dropout=0.4)
    layers = [module for module in factory.student(1).modules() if isinstance(module, torch.nn.Dropout)]
    assert layers
    assert {layer.p for layer in layers} == {0.4}
    assert {
        layer.p
        for layer in NetworkFactory("transformer", num_classes=2, vocabulary=20).student(0).modules()
        if isinstance(layer, torch.nn.Dropout)
    } == {0.1}


def test_texts_with_dropout_and_token_dropout(train: Callable[..., Run], tmp_path: Path) -> None:
    table = write(tmp_path / "walks.csv", reviews(200))
    common: dict[str, Any] = {"data": table, "student": TINY, "vocabulary": 300, "test_size": 40.0, "train_size": 100, "threads": 1}
    losses = {}
    for name, given in {"plain": {}, "tokens": {"token_dropout": 0.3}, "dropout": {"dropout": 0.5}}.items():
        run = train(**common, **given, method="rdrop", out=tmp_path / name)
        losses[name] = records(run.folder)[0]["losses"]["student0/divergence"]
    assert losses["tokens"] > losses["plain"] > 0
    assert losses["dropout"] > losses["plain"]


def test_balanced_class_weights(cache: Path) -> None:
    options = TrainOptions("digits", cache=cache, train_size=300, holdout=50, class_weights="balanced", progress=False)
    run = run_options(options)
    splits = open_splits(run)
    loss = splits.label_loss(settings_of(run))
    assert loss is not None
    assert loss.class_weights is not None
    counts = np.bincount(splits.train.labels)
    for count, weight in zip(counts, loss.class_weights.tolist(), strict=True):
        assert weight == pytest.approx(len(splits.train) / (10 * count))
    given = run_options(TrainOptions("digits", cache=cache, train_size=300, holdout=50, class_weights={"3": 5.0}, progress=False))
    weights = splits.label_loss(settings_of(given)).class_weights  # type: ignore[union-attr]
    assert weights is not None
    assert weights[3] == pytest.approx(5 * float(weights[0]))
    assert float((weights.double()[torch.from_numpy(splits.train.labels)]).mean()) == pytest.approx(1.0)


# bad input


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"patience": 3, "holdout": 0}, "patience is 3, but there is no hold-out set"),
        ({"patience": 3, "select_from": "last"}, "patience is 3, but select_from is last"),
        ({"patience": 0}, "patience is 0; it must be at least 1"),
        ({"class_weights": {"eleven": 2.0}}, "unknown class in class_weights 'eleven'"),
        ({"class_weights": {"3": 0.0}}, "class_weights is 0; it must be above 0"),
        ({"class_weights": "balance"}, "class_weights is 'balance'; it must be balanced, or a mapping"),
        ({"sampling": "balancd"}, "did you mean balanced"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1; it must be at least 0 and below 1"),
        ({"ema": 1.0}, "ema is 1; it must be at least 0 and below 1"),
        ({"dropout": 0.2}, "dropout is 0.2, but resnet8.* has no dropout"),
        ({"token_dropout": 0.2}, "token_dropout is 0.2, but digits has no tokens"),
        ({"time_limit": "soon"}, "time_limit is 'soon'; give a duration such as"),
        (
            {"time_limit": "1h", "schedule": "milestones", "milestones": (2,)},
            "time_limit is 1h, which plans .* milestones are given in epochs",
        ),
    ],
)
def test_bad_input(given: dict[str, Any], named: str, train: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=named) as caught:
        train(**{**BASE, **given})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_compare_takes_no_time_limit(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="time_limit is 1h, but compare gives every run of a method the same number of epochs"):
        studygroup.compare("digits", methods=["dml"], time_limit="1h", cache=cache, out=tmp_path / "compared")
    assert CompareOptions("digits", ema=0.9).ema == 0.9


def test_weights_on_the_command_line_and_in_recipes(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: digits\nclass_weights: {a b: 2, c: 1}\ntime_limit: 30m\n")
    assert config.load(recipe, TrainOptions)["class_weights"] == {"a b": 2.0, "c": 1.0}
    recipe.write_text("data: digits\nclass_weights: balanced\n")
    assert config.load(recipe, TrainOptions)["class_weights"] == "balanced"
    recipe.write_text("data: digits\nclass_weights: 3\n")
    with pytest.raises(UserError, match="it must be balanced, or a mapping of names"):
        config.load(recipe, TrainOptions)
