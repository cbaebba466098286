"""Comparisons end to end: which runs are trained, which are reused, and the leaderboard."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

import studygroup
from studygroup import UserError, cli, reporting
from studygroup.runs.member import Run
from studygroup.sweep import cost
from studygroup.training.fit import weights_digest
from tests.sweep.conftest import SMALL, Compare, InProcess, by_variant, result_of


def test_two_methods_and_two_seeds(compare: Compare, executor: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compare(methods=["dml"])
    assert executor.started == ["baseline-s0", "dml-s0", "baseline-s1", "dml-s1"], "the baseline is always included"
    assert executor.closed == 1
    out = tmp_path / "out"
    rows = by_variant(result)
    assert rows["baseline"]["role"] == "baseline"
    tests = {(name, seed): result_of(out / "runs" / f"{name}-s{seed}") for name in rows for seed in (0, 1)}
    for name, row in rows.items():
        found = [tests[name, seed]["selected"]["test"] for seed in (0, 1)]
        assert row["test"] == pytest.approx(statistics.fmean(found))
        assert row["test_std"] == pytest.approx(statistics.stdev(found))
        assert (row["seeds"], row["failed"], row["epochs"], row["parameters"]) == ([0, 1], [], 1, 77_754)
    apart = [tests["dml", seed]["selected"]["test"] - tests["baseline", seed]["selected"]["test"] for seed in (0, 1)]
    dml = rows["dml"]
    assert dml["difference_by_seed"] == dict(enumerate(apart))
    low, high = scipy.stats.t.interval(0.95, 1, loc=statistics.fmean(apart), scale=statistics.stdev(apart) / 2**0.5)
    assert (dml["difference"], dml["difference_low"], dml["difference_high"]) == pytest.approx((statistics.fmean(apart), low, high))
    assert dml["cost"] == pytest.approx(2.0, rel=0.01), "two networks instead of one"
    assert result["failed"] == {}
    assert result["out"] == str(out)
    assert json.loads((out / "leaderboard.json").read_text())["rows"][0]["variant"] == result["rows"][0]["variant"]
    with open(out / "leaderboard.csv") as file:
        assert {row["variant"] for row in csv.DictReader(file)} == {"baseline", "dml"}
    written = (out / "leaderboard.md").read_text()
    assert "not by test accuracy" in written
    command = "studygroup compare digits --methods dml --seeds 2 --student resnet8 --train-size 96 --holdout 48 --epochs 1 --batch-size 32"
    assert f"- command: `{command}" in written
    assert "--optimizer" not in written, "defaults are left out"
    monkeypatch.undo()
    reporting.write_comparison(out)
    assert all((out / name).stat().st_size > 10_000 for name in ("leaderboard.png", "curves.png"))


def test_sorted_by_hold_out_and_by_nothing_else(compare: Compare, tmp_path: Path) -> None:
    compare(methods=["dml"], seeds=1)
    out = tmp_path / "out"
    for name, holdout, test in (("baseline", 0.6, 0.1), ("dml", 0.5, 0.9)):
        path = out / "runs" / f"{name}-s0" / "result.json"
        result = json.loads(path.read_text())
        result["selected"] |= {"holdout": holdout, "test": test}
        path.write_text(json.dumps(result))
    assert [row["variant"] for row in reporting.comparison(out)["rows"]] == ["baseline", "dml"]


def test_finished_runs_are_not_trained_again(
    compare: Compare, executor: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(methods=["dml"])
    executor.started.clear()
    measured: list[str] = []
    real = cost.measure
    monkeypatch.setattr(cost, "measure", lambda variant, variants: measured.append(variant.name) or real(variant, variants))  # type: ignore[func-returns-value]
    assert compare(methods=["dml"])["rows"] == first["rows"]
    assert executor.started == []
    assert measured == []
    shutil.rmtree(tmp_path / "out" / "runs" / "dml-s1")
    assert [row["test"] for row in compare(methods=["dml"])["rows"]] == [row["test"] for row in first["rows"]], "the same numbers"
    assert executor.started == ["dml-s1"]
    executor.started.clear()
    compare(methods=["dml", "cl_ilr"], seeds=3)
    assert executor.started == ["cl_ilr-s0", "cl_ilr-s1", "baseline-s2", "dml-s2", "cl_ilr-s2"]
    assert measured == ["cl_ilr"]


def test_methods_that_cost_more_are_compared_with_the_baseline_at_their_compute(
    compare: Compare, executor: InProcess, tmp_path: Path
) -> None:
    result = compare(methods=["dml"], seeds=1, control=True)
    assert executor.started == ["baseline-s0", "dml-s0", "baseline-2-s0"], "two epochs alone cost what one of two students costs"
    rows = by_variant(result)
    assert rows["baseline-2"]["role"] == "control"
    assert rows["baseline-2"]["flops"] == pytest.approx(rows["dml"]["flops"], rel=0.01)
    assert rows["baseline-2"]["difference"] is not None
    assert "baseline-2: the baseline at the compute of the costliest method." in (tmp_path / "out" / "leaderboard.md").read_text()
    assert rows["dml"]["disagreement_ratio"] > 0


@pytest.mark.parametrize(
    "given",
    [{"methods": ["dml"], "budget": "equal-compute"}, {"methods": ["baseline"]}, {"variants": {"two": {"method": "dml"}}}],
    ids=["equal compute already", "no method costs more", "a recipe has its own"],
)
def test_no_control_where_it_says_nothing(compare: Compare, executor: InProcess, given: dict[str, Any]) -> None:
    assert len(compare(seeds=1, control=True, **given)["rows"]) == (1 if given.get("methods") == ["baseline"] else 2)


def test_a_comparison_may_leave_the_test_set_alone(compare: Compare, tmp_path: Path) -> None:
    rows = by_variant(compare(methods=["dml"], seeds=1, score_test=False, linear_model=True))
    assert [rows[name]["test"] for name in ("baseline", "dml", "linear")] == [None, None, None]
    assert all(0 < rows[name]["holdout"] <= 1 for name in ("baseline", "dml", "linear"))
    written = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "The test set is not scored." in written
    assert "leaderboard.png" not in written


@pytest.mark.slow
def test_a_stopped_run_continues(compare: Compare, executor: InProcess, tmp_path: Path, cache: Path) -> None:
    whole = by_variant(compare(methods=["baseline"], seeds=1, epochs=2, out=tmp_path / "whole"))["baseline"]
    folder = tmp_path / "out" / "runs" / "baseline-s0"
    shutil.copytree(tmp_path / "whole" / "runs" / "baseline-s0", folder)
    shutil.copy(tmp_path / "whole" / "comparison.json", tmp_path / "out")
    (folder / "result.json").unlink()
    max((folder / "checkpoints").iterdir()).unlink()  # as after the first epoch
    assert by_variant(compare(methods=["baseline"], seeds=1, epochs=2))["baseline"]["test"] == whole["test"]
    assert executor.started[-1] == "baseline-s0"


def test_a_failed_variant_is_reported_and_the_others_continue(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    variants = {
        "wild": {"method": "dml", "learning_rate": 1e30},
        "pupil": {"method": "kd", "teacher": "wild"},
        "tame": {"method": {"name": "dml", "students": 3}},
    }
    result = compare(variants=variants, seeds=1)
    assert list(result["failed"]) == ["wild-s0", "pupil-s0"]
    assert "loss" in result["failed"]["wild-s0"]
    assert result["failed"]["pupil-s0"] == "its teacher wild-s0 failed"
    rows = by_variant(result)
    assert (rows["wild"]["seeds"], rows["wild"]["failed"], rows["wild"]["test"]) == ([], [0], None)
    assert rows["tame"]["difference"] is not None
    assert rows["tame"]["difference_low"] is None, "one seed"
    written = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "- failed: wild-s0: the cross_entropy loss" in written
    assert "an interval needs 2 seeds in common" in written
    assert "pupil-s0" not in executor.started


def test_the_exit_code_is_1_after_a_failure(executor: InProcess, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    small = "".join(f"{key}: {value}\n" for key, value in SMALL.items())
    recipe.write_text(f"data: digits\n{small}variants:\n  wild: {{method: dml, learning_rate: 1e30}}\n")
    words = f"compare --config {recipe} --seeds 1 --out {tmp_path / 'out'} --cache {cache} --no-progress"
    assert cli.main(words.split()) == 1
    written = capsys.readouterr().out
    assert "failed: wild-s0: the cross_entropy loss" in written
    assert "baseline" in written
    assert str(tmp_path / "out" / "leaderboard.csv") in written


def test_a_teacher_is_trained_once_for_all_methods_of_a_seed(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    result = compare(methods=["kd", "baseline", "orc"], options={"orc.students": 2}, teacher="resnet14", seeds=2)
    assert executor.started[:4] == ["teacher-resnet14-s0", "baseline-s0", "kd-s0", "orc-s0"]
    assert len(executor.started) == 8
    for seed in (0, 1):
        taught = {result_of(tmp_path / "out" / "runs" / f"{name}-s{seed}")["identity"]["teacher"] for name in ("kd", "orc")}
        assert len(taught) == 1
    rows = by_variant(result)
    teacher = rows["teacher-resnet14"]
    assert result["rows"][-1] == teacher
    assert (teacher["role"], teacher["difference"]) == ("teacher", None)
    assert rows["kd"]["teacher_flops"] == teacher["flops"]
    assert rows["kd"]["teacher_cost"] == teacher["cost"] > 1
    assert rows["baseline"]["teacher_flops"] is None
    assert "the cost of training the teacher is a column of its own" in (tmp_path / "out" / "leaderboard.md").read_text()


@pytest.mark.slow
def test_several_teachers_of_each_seed(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    variants = {"group": {"method": "dml"}, "kd": {"method": "kd", "teacher": ["resnet14", "group"]}}
    result = compare(variants=variants, seeds=2)
    assert [name for name in executor.started if name.startswith("kd")] == ["kd-s0", "kd-s1"]
    for seed in (0, 1):
        runs = [Run(tmp_path / "out" / "runs" / f"{name}-s{seed}") for name in ("teacher-resnet14", "group", "kd")]
        assert runs[2].result["identity"]["teacher"].split() == [weights_digest(run.best.network) for run in runs[:2]]
        assert set(runs[2].result["teachers"]) == {"teacher", "teacher2"}
    rows = by_variant(result)
    assert rows["kd"]["teacher_flops"] == rows["teacher-resnet14"]["flops"] + rows["group"]["flops"]
    executor.started.clear()
    compare(variants=variants, seeds=2)  # goes on where it ended
    assert not executor.started


@pytest.mark.slow
def test_a_run_as_the_teacher(compare: Compare, executor: InProcess, tmp_path: Path, cache: Path) -> None:
    teacher = studygroup.train("digits", method="baseline", out=tmp_path / "teacher", cache=cache, progress=False, **SMALL)
    compare(methods=["kd"], teacher=teacher.folder, seeds=1)
    assert executor.started == ["baseline-s0", "kd-s0"]
    shutil.copytree(tmp_path / "teacher", tmp_path / "t-s0")
    shutil.copytree(tmp_path / "teacher", tmp_path / "t-s1")
    compare(methods=["kd"], teacher=str(tmp_path / "t-s{seed}"), seeds=2, out=tmp_path / "third")
    words = (tmp_path / "third" / "runs" / "kd-s1" / "config.yaml").read_text()
    assert str(tmp_path / "t-s1") in words
    with pytest.raises(UserError, match="t-s2"):
        compare(methods=["kd"], teacher=str(tmp_path / "t-s{seed}"), seeds=3, out=tmp_path / "fourth")


def test_scores_on_unused_samples(compare: Compare, tmp_path: Path) -> None:
    result = compare(methods=["dml"], seeds=1, score_on_unused=200)
    out = tmp_path / "out"
    for name, row in by_variant(result).items():
        scored = json.loads((out / "runs" / f"{name}-s0" / "unused.json").read_text())
        record = result_of(out / "runs" / f"{name}-s0")
        assert scored["samples"] == 200
        assert row["test"] == scored["accuracy"]["best"]
        assert row["last_test"] == scored["accuracy"][record["last"]["member"]]
        assert row["ensemble_test"] == scored["accuracy"].get("ensemble")
        assert row["test"] != record["selected"]["test"]
    written = (out / "leaderboard.md").read_text()
    assert "| unused |" in written
    assert "the test set is not used" in written
    assert " test |" not in written


def test_the_saved_recipe_continues_the_comparison(
    compare: Compare, executor: InProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(methods=["dml"], options={"dml.students": 3}, seeds=1)
    executor.started.clear()
    assert cli.main(["compare", "--config", str(tmp_path / "out" / "comparison.yaml"), "--seeds", "2"]) == 0
    assert executor.started == ["baseline-s1", "dml-s1"]


def test_a_data_split_for_each_seed(compare: Compare, tmp_path: Path) -> None:
    result = compare(methods=["dml"], seeds=2, split_by_seed=True)
    assert result["split_by_seed"]
    assert "Each seed has its own data split: the interval covers other data, too." in (tmp_path / "out" / "leaderboard.md").read_text()

    def tested(name: str) -> list[str]:
        with (tmp_path / "out" / "runs" / name / "predictions" / "test.csv").open(newline="") as file:
            return [row["label"] for row in csv.DictReader(file)]

    assert tested("baseline-s0") == tested("dml-s0") != tested("baseline-s1") == tested("dml-s1")
    with pytest.raises(UserError, match=r"had other options \(split_by_seed was True, is False\)"):
        compare(methods=["dml"], seeds=2)
