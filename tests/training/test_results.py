"""What a finished training leaves of its test: scores by class, predictions with names, mistakes; and who is in the tables."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import studygroup
from studygroup.errors import UserError
from studygroup.output import print_table
from studygroup.reporting import leaderboard, show_run
from studygroup.runs.evaluation import Evaluation, Outcomes
from studygroup.runs.folder import check_own
from studygroup.runs.member import Run
from studygroup.runs.predictions import read_member_predictions, read_samples
from studygroup.runs.samples import DISPUTED
from studygroup.training import results
from studygroup.training.evaluate import collect


def rows_of(run: Run) -> list[dict[str, str]]:
    with run.files.predictions.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shown(run: Run) -> list[list[str]]:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(show_run(run.folder))
    return [line.split() for line in console.export_text().splitlines() if line.strip()]


@pytest.fixture(autouse=True)
def shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYGROUP_CACHE", str(cache))


def test_the_selected_student_and_its_teacher_are_evaluated(train: Callable[..., Run], teacher: Path) -> None:
    run = train(method="kd", teacher=teacher)
    found, rows = run.evaluation, rows_of(run)
    assert found.accuracy == run.result["selected"]["test"] == sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert sum(found.support) == len(rows) == found.samples == 359
    for c, name in enumerate(found.classes):
        assert found.confusion_matrix[c, 3] == sum(row["label"] == name and row["predicted"] == "3" for row in rows)
    likelihood = [float(row["label_probability"]) for row in rows]
    assert found.negative_log_likelihood == pytest.approx(-np.log(likelihood).mean(), abs=1e-4)
    assert all(float(row["probability"]) >= float(row["label_probability"]) for row in rows)
    again = studygroup.evaluate(run.folder, progress=False)["best"]
    assert (again["accuracy"], again["support"], again["confusions"]) == (found.accuracy, found.support, found.confusions)
    assert again["calibration_error"] == pytest.approx(found.calibration_error)
    assert run.evaluations["teacher"].accuracy == Run(teacher).result["selected"]["test"]
    assert [line[0] for line in shown(run)][2:] == ["─" * len(shown(run)[2][0]), "student0", "teacher", "best"], "no ensemble of one"
    with Image.open(run.files.mistakes_picture) as sheet:
        assert sheet.width > 900


@pytest.mark.parametrize("method", ["dml", "okddip"])
def test_what_every_member_predicts_is_kept(train: Callable[..., Run], method: str) -> None:
    run = train(method=method)
    found, rows = read_member_predictions(run.files.member_predictions), rows_of(run)
    assert list(found.labels) == [row["label"] for row in rows]
    assert list(found.by_member) == list(run.result["last"]["test"]), "students first, the ensemble last"
    for member, predicted in found.by_member.items():
        right = sum(label == guess for label, guess in zip(found.labels, predicted, strict=True))
        assert right / len(rows) == pytest.approx(run.result["last"]["test"][member]), member
    students = [found.by_member[name] for name in list(found.by_member)[: run.result["identity"]["group"]["students"]]]
    pairs = list(combinations(students, 2))
    differing = [sum(a != b for a, b in zip(one, other, strict=True)) / len(rows) for one, other in pairs]
    assert np.mean(differing) == pytest.approx(run.result["last"]["disagreement"])


def test_samples_to_look_at(train: Callable[..., Run]) -> None:
    run = train(method="dml")
    rows, samples = rows_of(run), read_samples(run.files.samples)
    members = read_member_predictions(run.files.member_predictions).by_member
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    chosen = [rows[place] for place in samples.mistakes]
    assert len(chosen) == min(len(wrong), 30)
    assert [row["probability"] for row in chosen] == sorted((row["probability"] for row in wrong), reverse=True)[: len(chosen)]
    assert 0 < len(samples.disputed) <= DISPUTED
    assert all(members["student0"][place] != members["student1"][place] for place in samples.disputed)
    assert set(samples.shown) == {*samples.mistakes, *samples.disputed}
    first = samples.shown[samples.mistakes[0]].picture
    assert first is not None
    with Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))) as picture:
        assert picture.size == (8, 8)


def test_a_training_leaves_its_report(train: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(method="baseline", epochs=1)
    assert "resnet" in run.files.report.read_text()
    print_table("train", run, {})
    assert f"report:   {run.files.report}" in capsys.readouterr().out
    check_own(run.folder)  # its names are known, so that it can be overwritten
    train(method="baseline", epochs=1, overwrite=True)


def test_a_report_that_cannot_be_written_fails_no_training(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("what nobody foresaw")

    monkeypatch.setattr("studygroup.pages.write.render", fail)
    run = train(method="baseline", epochs=1)
    assert run.result["selected"]["test"] is not None
    assert not run.files.report.exists()
    assert f"no report of {run.folder} was written: RuntimeError: what nobody foresaw" in caplog.text


def test_the_test_set_can_be_scored_later(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(method="dml", score_test=False, linear_model=True)
    assert (run.result["selected"]["test"], run.result["test_samples"], run.result["linear"]["test"]) == (None, 0, None)
    assert not run.files.predictions.exists()
    assert run.evaluations == {}
    assert any("best" in line for line in shown(run))
    weights = run.files.weights("best").read_bytes()
    assert train(method="dml", score_test=False, linear_model=True, resume=True).result == run.result
    scored = train(method="dml", linear_model=True, resume=True)
    whole = train(method="dml", linear_model=True, out=tmp_path / "whole")
    assert scored.result["selected"] == whole.result["selected"]
    assert scored.result["last"] == whole.result["last"]
    assert scored.result["linear"]["test"] == whole.result["linear"]["test"] > 0.8
    assert run.files.weights("best").read_bytes() == weights
    assert len(rows_of(scored)) == 359


def test_a_single_network_has_no_ensemble(train: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = train(method="baseline", progress=True)
    assert set(run.result["last"]["test"]) == set(run.result["last"]["holdout"]) == {"student0"}
    assert set(studygroup.evaluate(run.folder, members=["all"], progress=False)) == {"student0"}
    (row,) = leaderboard([run.folder])
    assert row["ensemble_test"] is None
    assert row["negative_log_likelihood"] == run.evaluation.negative_log_likelihood
    lines = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    assert [line.split(",")[0] for line in lines] == ["train: epoch 1/2", "train: epoch 2/2"]
    assert not any("ensemble" in line for line in lines)
    assert [line[1] for line in shown(run) if line[0] == "student0"] == ["2"]
    assert run.member("student0").card["epoch"] == 2
    assert run.best.card["epoch"] == run.result["selected"]["epoch"] >= 1


def test_names_of_files_and_a_class_without_test_samples(train: Callable[..., Run], tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    for name in ("a|b", "=c", "d"):
        for i in range(20):
            path = tmp_path / "photos" / name / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
    run = train(data=tmp_path / "photos", image_size=8, train_size=None, holdout=0.1, test_size=0.4, epochs=1)
    rows = rows_of(run)
    assert len(rows) == 24
    for row in rows:
        assert row["name"].removeprefix("'").split("/")[0] == row["label"].removeprefix("'")
    assert len({row["name"] for row in rows}) == 24
    assert {row["label"] for row in rows} == {"a|b", "'=c", "d"}
    (tmp_path / "photos" / "d").rename(tmp_path / "d")
    found = studygroup.evaluate(run.folder, data=tmp_path / "photos", progress=False)["best"]
    at = found["classes"].index("d")
    assert (found["support"][at], found["recall"][at]) == (0, None)


def test_predictions_that_are_no_numbers_lose_nothing(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def with_nan(*arguments: object) -> dict[str, Outcomes]:
        found = collect(*arguments)  # type: ignore[arg-type]
        probability = found["best"].probability.copy()
        probability[:3] = float("nan")
        return {"best": replace(found["best"], probability=probability)}

    monkeypatch.setattr(results, "collect", with_nan)
    with pytest.warns(UserWarning, match=r"best on the test set: 3 of 359 predictions are no numbers"):
        run = train(method="baseline", epochs=1)
    assert run.result["selected"]["test"] is not None
    assert rows_of(run)[0]["probability"] == "nan"
    with pytest.raises(UserError, match=r"has no evaluation: .* its predictions are no numbers"):
        _ = run.evaluation


def test_evaluations_of_runs_of_before_are_made_anew(train: Callable[..., Run]) -> None:
    run = train(method="baseline", epochs=1)
    before = run.evaluation
    run.files.evaluation.unlink()
    plain = studygroup.evaluate(run.folder, progress=False)["best"]
    assert Evaluation.from_plain(plain).confusions == before.confusions
    assert shown(run)[-1][:2] == ["best", "(student0)"]
