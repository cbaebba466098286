"""Teachers and assistants that are chosen because none are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studygroup.errors import UserError
from studygroup.methods.assistants import Assisted
from studygroup.options import RunOptions
from studygroup.pipeline.setup import method_of, run_options
from studygroup.runs.member import Run


def chosen(**options: Any) -> RunOptions:
    return run_options(RunOptions("digits", preset="none", **options))


@pytest.mark.parametrize(("options", "teacher"), [
    ({"method": "kd", "student": "resnet8"}, "resnet14"),
    ({"method": "orc", "student": "resnet18@large"}, "resnet34@large"),
    ({"method": "takd", "student": "resnet8"}, "resnet26"),
    ({"method": "dgkd", "student": "resnet8", "method_options": {"assistants": ["resnet20", "resnet14"]}}, "resnet56"),
    ({"method": "takd", "student": "resnet44"}, "resnet110"),  # there is no larger one
])  # fmt: skip
def test_the_teacher_is_a_larger_network_of_the_family(options: dict[str, Any], teacher: str) -> None:
    assert chosen(teacher="auto", **options).teacher == teacher


def test_a_teacher_that_is_given_stays() -> None:
    assert chosen(method="kd", teacher="resnet20").teacher == "resnet20"
    assert chosen(method="kd").teacher is None


@pytest.mark.parametrize("student", ["resnet110", "mobilenetv2", "shufflenetv1"])
def test_without_a_larger_network_there_is_no_automatic_teacher(student: str) -> None:
    with pytest.raises(UserError, match=f"teacher is auto, but there is no larger network of the family of {student}; name one"):
        chosen(method="kd", student=student, teacher="auto")


def assistants(**options: Any) -> list[str]:
    method = method_of(chosen(**options))
    assert isinstance(method, Assisted)
    return list(method.assistants or ())


def test_assistants_are_the_sizes_between(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert assistants(method="takd", student="resnet8", teacher="resnet56") == ["resnet26", "resnet14"]
    assert "takd: assistants between resnet56 and resnet8: resnet26, resnet14" in caplog.text
    assert assistants(method="dgkd", student="resnet8", teacher="auto") == ["resnet14"]


def test_assistants_that_are_given_stay() -> None:
    given = {"assistants": ["resnet20"]}
    assert assistants(method="takd", student="resnet8", teacher="resnet56", method_options=given) == ["resnet20"]


def test_where_there_is_nothing_between_the_method_says_so() -> None:
    method = method_of(chosen(method="takd", student="resnet8", teacher="resnet14"))
    with pytest.raises(UserError, match="takd has no assistants"):
        method.stages()


def test_a_finished_run_is_a_teacher_of_its_network(teacher: Path) -> None:
    assert assistants(method="takd", student="resnet8", teacher=teacher) == [], "it is as large as the student"


def test_a_run_with_the_fewest_words(train: Callable[..., Run]) -> None:
    run = train(method="takd", student="resnet8", teacher="auto", epochs=1)
    assert Run(run.folder / "stages" / "teacher").best.card["network"].startswith("resnet26")
    assert Run(run.folder / "stages" / "assistant1").best.card["network"].startswith("resnet14")
    assert run.best.card["network"].startswith("resnet8")
