"""Presets: what is chosen by kind and size of the data, what stays, what is said and saved."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from studygroup import UserError, config
from studygroup.options import RunOptions, TrainOptions
from studygroup.pipeline.presets import IMAGES, TEXTS, describe_recipe
from studygroup.pipeline.setup import run_options
from studygroup.runs.member import Run
from tests.training.test_texts import reviews, write


def test_epochs_follow_the_number_of_samples() -> None:
    assert [TEXTS["balanced"].epochs(count) for count in (10, 4000, 5000, 20_000, 10**6)] == [50, 25, 20, 5, 5]
    for presets in (IMAGES, TEXTS):
        for count in (0, 100, 5000, 10**7):
            quick, balanced, best = (presets[name].epochs(count) for name in ("quick", "balanced", "best"))
            assert 1 <= quick < balanced < best
    assert IMAGES["none"].epochs(10**7) == 100


@pytest.mark.parametrize("name", ["quick", "balanced", "best", "none"])
@pytest.mark.parametrize("texts", [False, True])
def test_what_is_given_stays(name: Any, texts: bool, tmp_path: Path) -> None:
    data = write(tmp_path / "walks.csv", reviews(40)) if texts else "digits"
    common: dict[str, Any] = {"preset": name, "cache": tmp_path / "cache", "holdout": 8}
    found = run_options(RunOptions(data, **common))
    preset = (TEXTS if texts else IMAGES)[name]
    assert {getattr(found, option) for option in ("label_smoothing", "ema", "token_dropout")} == {0.0}
    assert found.augment == preset.augment
    given: dict[str, Any] = {"epochs": 7, "label_smoothing": 0.0, "ema": 0.0, "token_dropout": 0.25, "augment": "crop"}
    kept = run_options(RunOptions(data, **common, **given))
    assert {option: getattr(kept, option) for option in given} == given
    again = run_options(kept)
    assert again == kept, "what a run saves stands for itself"


def test_the_whole_recipe_is_said_and_saved(train: Callable[..., Run], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "studygroup"):
        run = train(method="baseline", preset="best", epochs=1)
    (line,) = [message for message in caplog.messages if message.startswith("recipe")]
    saved = config.load_group(run.files.config, TrainOptions)
    assert line == describe_recipe(saved)
    assert line.startswith("recipe (preset best, and what was given): 1 epochs, batches of 32, sgd at 0.05, cosine schedule")
    content = yaml.safe_load(run.files.config.read_text())
    assert (content["preset"], content["augment"]) == ("best", "crop+trivial+erase"), "saved as its operations"
    assert "as many epochs as fit into 30m" in describe_recipe(replace(saved, time_limit="30m"))


def test_an_unknown_preset() -> None:
    with pytest.raises(UserError, match="preset is 'bset'; did you mean best"):
        RunOptions("digits", preset="bset")  # type: ignore[arg-type]
