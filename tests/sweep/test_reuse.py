"""Runs of other comparisons that are copied instead of trained again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studygroup.errors import UserError
from studygroup.sweep.reuse import DEPTHS, finished_elsewhere
from tests.sweep.conftest import Compare, InProcess, by_variant, result_of


def test_runs_of_equal_options_are_copied_whatever_they_are_called(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    first = by_variant(compare(variants={"two": {"method": {"name": "dml", "students": 2}}}, out=tmp_path / "a" / "panels" / "one"))
    executor.started.clear()
    again = by_variant(compare(methods=["dml"], seeds=3, reuse=[tmp_path / "a"]))
    assert executor.started == ["baseline-s2", "dml-s2"], "two students are dml's default; the third seed is new"
    assert again["dml"]["seeds"] == [0, 1, 2]
    written = tmp_path / "out" / "runs"
    source = tmp_path / "a" / "panels" / "one" / "runs"
    assert result_of(written / "dml-s1") == result_of(source / "two-s1")
    assert first["two"]["seeds"] == [0, 1]
    page = (tmp_path / "out" / "leaderboard.md").read_text()
    assert f"- copied: dml-s1, trained as {source / 'two-s1'}" in page
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["reused"].keys() == {
        "baseline-s0", "baseline-s1", "dml-s0", "dml-s1",
    }  # fmt: skip
    compare(methods=["dml"], seeds=3)
    assert "- copied: dml-s1" in (tmp_path / "out" / "leaderboard.md").read_text(), "also when it goes on without the option"


@pytest.mark.parametrize(
    "other",
    [{"epochs": 2}, {"learning_rate": 0.01}, {"split_by_seed": True}, {"score_on_unused": 100}],
    ids=["epochs", "learning rate", "splits", "what it is scored on"],
)
def test_runs_of_other_options_are_not(compare: Compare, executor: InProcess, tmp_path: Path, other: dict[str, object]) -> None:
    compare(methods=["baseline"], seeds=1, out=tmp_path / "a")
    executor.started.clear()
    compare(methods=["baseline"], seeds=1, reuse=[tmp_path / "a"], **other)
    assert executor.started == ["baseline-s0"]


def test_a_student_needs_a_teacher_of_the_same_options(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    def variants(rate: float) -> dict[str, object]:
        return {"big": {"method": "baseline", "learning_rate": rate}, "taught": {"method": "kd", "teacher": "big"}}

    compare(variants=variants(0.02), seeds=1, out=tmp_path / "a")
    executor.started.clear()
    compare(variants=variants(0.03), seeds=1, reuse=[tmp_path / "a"], out=tmp_path / "b")
    assert executor.started == ["big-s0", "taught-s0"], "the baseline is the same"
    executor.started.clear()
    renamed = {"teacher": variants(0.02)["big"], "kd": {"method": "kd", "teacher": "teacher"}}
    compare(variants=renamed, seeds=1, reuse=[tmp_path / "b", tmp_path / "a"], out=tmp_path / "c")
    assert executor.started == []


def test_unfinished_runs_are_left_out(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    compare(methods=["baseline"], out=tmp_path / "a")
    (tmp_path / "a" / "runs" / "baseline-s1" / "result.json").unlink()
    executor.started.clear()
    compare(methods=["baseline"], reuse=[tmp_path / "a"])
    assert executor.started == ["baseline-s1"]


def test_folders_that_hold_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reuse: .*absent does not exist; give the folder of one"):
        finished_elsewhere([], 1, [tmp_path / "absent"], score_on_unused=0)
    deep = tmp_path.joinpath(*"abcd")
    deep.mkdir(parents=True)
    (deep / "comparison.json").write_text("{}")
    assert len("abcd") == DEPTHS
    with pytest.raises(UserError, match="holds no comparison or study"):
        finished_elsewhere([], 1, [tmp_path], score_on_unused=0)
