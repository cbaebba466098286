"""Runs with several teachers, from the command line to the cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup import config
from studygroup.cli import main
from studygroup.errors import UserError
from studygroup.options import CompareOptions, RunOptions, TrainOptions
from studygroup.pages.run_facts import RunFacts
from studygroup.pages.run_words import sentence
from studygroup.runs.member import Run
from studygroup.training.fit import weights_digest
from tests.training.conftest import SMALL
from tests.training.test_resume import assert_resumes, assert_same


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Another finished run."""
    folder = tmp_path_factory.mktemp("second") / "run"
    studygroup.train("digits", method="baseline", student="resnet8", out=folder, cache=cache, **{**SMALL, "epochs": 1, "seed": 5})
    return folder


def test_runs_and_a_network_that_is_trained_first(
    train: Callable[..., Run], teacher: Path, second: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    caplog.set_level("INFO")
    words = ["train", "digits", "--method", "kd", "--teacher", str(teacher), "resnet14", str(second), "--teacher-epochs", "1"]
    small = ["--preset", "none", "--train-size", "160", "--holdout", "48", "--batch-size", "32", "--epochs", "2", "--no-progress"]
    rest = ["--method.combine", "holdout", "--precision", "float32", "--no-linear-model", "--cache", str(cache), "--out", str(out)]
    assert main([*words, *small, *rest]) == 0
    run = Run(out)
    stage = Run(out / "stages" / "teacher2")
    assert stage.result["student"] == "resnet14"
    folders = [teacher, out / "stages" / "teacher2", second]
    assert run.result["identity"]["teacher"].split() == [weights_digest(Run(folder).best.network) for folder in folders]
    recorded = run.result["teachers"]
    accuracies = [Run(folder).result["selected"]["holdout"] for folder in folders]  # of the same hold-out set
    assert [own["holdout"] for own in recorded.values()] == pytest.approx(accuracies, abs=1e-6)
    above = [max(accuracy - 0.1, 0) for accuracy in accuracies]
    assert [own["weight"] for own in recorded.values()] == pytest.approx([one / sum(above) for one in above], abs=1e-6)
    assert json.loads(run.files.card("best").read_text())["teachers"] == recorded
    assert [line for line in caplog.messages if line.startswith("train: teacher2: weight 0.")]
    assert set(run.evaluations) == {"best", "teacher", "teacher2", "teacher3"}
    assert config.load(out / "config.yaml", TrainOptions)["teacher"] == (str(teacher), "resnet14", str(second))
    found = sentence(RunFacts.of(out))
    assert " with the teachers " in found
    assert f"resnet14 ({recorded['teacher2']['weight']:.0%}) and " in found
    again = config.load(out / "config.yaml", TrainOptions)
    studygroup.train(str(again.pop("data")), **{**again, "out": tmp_path / "again"})  # type: ignore[arg-type]
    assert_same(out, tmp_path / "again")


@pytest.mark.parametrize("combine", ["holdout", "random"])
def test_interrupted_and_resumed(
    combine: str, train: Callable[..., Run], teacher: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: dict[str, Any] = {"method": "kd", "teacher": [teacher, second], "method_options": {"combine": combine}}
    assert_resumes(train, wanted, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="teacher"):  # in another order they are others
        train(**{**wanted, "teacher": [second, teacher]}, out=tmp_path / "parts", resume=True)


def test_modules_from_python(train: Callable[..., Run], teacher: Path, second: Path) -> None:
    networks = [Run(folder).best.network for folder in (teacher, second)]
    run = train(method="kd", teacher=networks, epochs=1)
    assert run.result["identity"]["teacher"].split() == [weights_digest(network) for network in networks]


def test_one_teacher_in_a_list_is_one_teacher() -> None:
    for given in ("resnet20", ["resnet20"], ("resnet20",)):
        options = RunOptions(data="digits", teacher=given)
        assert options.teacher == "resnet20"
        assert options.plain()["teacher"] == "resnet20"
    assert RunOptions(data="digits", teacher=[]).teacher is None
    several = RunOptions(data="digits", teacher=["a,b", "auto"])
    assert several.plain()["teacher"] == ["a,b", "auto"]
    assert RunOptions.from_plain(several.plain()) == several
    assert CompareOptions(data="digits", teacher=["a", "b"]).teachers == ("a", "b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "srrl", "--teacher", "resnet14", "resnet20"], "srrl learns from one teacher, and 2 are given; give one, or take kd"),
        (
            ["--method", "orc", "--teacher", "resnet14", "resnet20"],
            "orc learns from one pivot, and 2 are given; give one, or take kd",
        ),
        (["--method", "bss", "--teacher", "resnet14", "resnet20"], "bss learns from one teacher, and 2 are given"),
        (["--method", "dml", "--teacher", "resnet14", "resnet20"], "dml takes no teacher"),
        (["--method", "kd", "--teacher", "resnet14", "resnet14"], "the teacher resnet14 is given twice"),
        (["--method", "kd", "--teacher", "auto", "resnet14", "--student", "resnet8"], "the teacher resnet14 is given twice"),
        (["--method", "kd", "--teacher", "resnet14", "resnet9"], "the teacher 'resnet9' is neither a run folder nor a network"),
        (["--method", "kd", "--teacher", "resnet14,resnet20"], "the teacher 'resnet14,resnet20' is neither a run folder nor a network"),
        (
            ["--method", "kd", "--teacher", "resnet14", "resnet20", "--weights", "teacher=w.pt"],
            "w.pt are given for one of 2 teachers; train it first, and give its run as a teacher",
        ),
        (
            ["--method", "kd", "--teacher", "resnet14", "resnet20", "--method.combine", "holdout", "--holdout", "0"],
            "teachers are to be weighted by their accuracy on the hold-out set, and there is none; give --holdout, or combine mean",
        ),
    ],
)
def test_what_cannot_be(words: list[str], message: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--train-size", "64", "--no-progress", "--epochs", "1", "--cache", str(cache), "--out", str(tmp_path / "run")]
    assert main(["train", "digits", *words, *small]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_data_come_before_the_teachers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--method", "kd", "--teacher", "resnet14", "digits"]) == 2
    assert "no data: name a data set or a folder; it comes before flags such as --teacher" in capsys.readouterr().err


def test_a_teacher_of_other_classes_is_refused(train: Callable[..., Run], teacher: Path, tmp_path: Path, cache: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (8, 8), 20 * number + (name == "dog")).save(tmp_path / "pets" / name / f"{number}.png")
    other = train(data=tmp_path / "pets", image_size=8, train_size=None, holdout=4, out=tmp_path / "other", epochs=1)
    with pytest.raises(UserError, match=r"the teacher in .*other was not trained on data like digits: its classes are \['cat', 'dog'\]"):
        train(method="kd", teacher=[teacher, other.folder])
