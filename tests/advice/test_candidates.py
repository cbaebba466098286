"""What is tried, by kind of data and by what the options have already."""

from __future__ import annotations

from typing import Any

import pytest

from studygroup import UserError
from studygroup.advice.candidates import candidates_for
from studygroup.options import AdviseOptions, RunOptions
from studygroup.pipeline.setup import run_options

BOTH = ["dml", "dml-distilled", "rdrop", "smoothing", "one", "weight-decay", "cgl"]
LARGER = ["larger", "kd", "orc"]


def names(texts: bool, *, chosen: tuple[str, ...] = (), **options: Any) -> list[str]:
    given: dict[str, Any] = {"preset": "none", "student": "transformer" if texts else "resnet8", "epochs": 5, **options}
    base = run_options(RunOptions("digits", method="baseline", **given))
    return [found.name for found in candidates_for(base, AdviseOptions("digits", candidates=chosen, **given), texts=texts)]


def test_images_are_augmented_and_tokens_of_texts_left_out() -> None:
    assert set(names(False)) == {"augment-medium", "augment-strong", *BOTH, *LARGER}
    assert set(names(True)) == {"token-dropout", "dropout", *BOTH, *LARGER}


def test_what_the_student_alone_has_already_is_no_candidate() -> None:
    assert "smoothing" not in names(False, label_smoothing=0.1)
    assert "augment-medium" not in names(False, augment="medium")
    assert "augment-light" in names(False, augment="medium"), "less may be better than what the recipe has"
    assert "augment-light" not in names(False, augment="light")


def test_without_a_larger_network_there_is_no_teacher() -> None:
    assert set(names(False, student="mobilenetv2")).isdisjoint(LARGER)


def test_only_some_are_asked_for() -> None:
    assert names(False, chosen=("orc", "dml")) == ["dml", "orc"]
    with pytest.raises(UserError, match="unknown candidate 'orcs'; did you mean orc"):
        names(False, chosen=("orcs",))


def test_the_weight_decay_is_stronger_than_the_students() -> None:
    wanted: dict[str, dict[str, Any]] = {"sgd": {"weight_decay": 0.002}, "adam": {"optimizer": "adamw", "weight_decay": 0.05}}
    for optimizer, expected in wanted.items():
        given: dict[str, Any] = {"student": "resnet8", "preset": "none", "optimizer": optimizer}
        base = run_options(RunOptions("digits", method="baseline", **given))
        found = {one.name: one.options for one in candidates_for(base, AdviseOptions("digits"), texts=False)}
        assert found["weight-decay"] == expected
