"""Comparisons that cannot be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup import TrainingError, UserError
from studygroup.lock import lock_dir
from studygroup.sweep import comparison
from tests.sweep.conftest import SMALL, Compare, InProcess, by_variant


def test_other_options_for_finished_runs_are_refused(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    compare(methods=["dml"], seeds=1)
    with pytest.raises(UserError, match=r"baseline in .*out had other options \(epochs was 1, is 2\); .* --overwrite"):
        compare(methods=["dml"], seeds=1, epochs=2)
    with pytest.raises(UserError, match=r"dml in .*method_options was \{\}, is \{'students': 3\}"):
        compare(methods=["dml"], options={"dml": {"students": 3}}, seeds=1)
    executor.started.clear()
    assert by_variant(compare(methods=["dml"], seeds=1, epochs=2, overwrite=True))["dml"]["epochs"] == 2
    assert executor.started == ["baseline-s0", "dml-s0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["cgll"]}, "unknown method 'cgll'; did you mean cgl"),
        ({"methods": ["dml"], "seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"methods": ["dml"], "workers": 0}, "workers is 0; it must be at least 1"),
        ({"methods": ["dml"], "score_on_unused": -1}, "score_on_unused is -1"),
        ({"methods": ["dml"], "score_on_unused": 5000}, "score_on_unused is 5000, but only 1294 training samples are unused"),
        ({"methods": ["dml"], "epochs": 0}, "epochs is 0"),
        ({}, "there is nothing to compare; give --methods"),
        ({"methods": ["dml", "dml"]}, "dml is given twice"),
        ({"methods": [studygroup.DML(students=2)]}, "methods holds DML; give names"),
        ({"methods": ["kd"]}, "kd needs a teacher"),
        ({"methods": ["kd"], "teacher": "resnet9"}, "'resnet9' is neither a run folder nor a network"),
        ({"methods": ["kd"], "teacher": "runs/nowhere"}, "'runs/nowhere' is neither a run folder nor a network"),
        ({"methods": ["dml"], "student": "resnet9"}, "unknown network 'resnet9'"),
        ({"methods": ["dml"], "student": object()}, "student is a python object"),
        ({"methods": ["dml"], "options": {"cgl.students": 3}}, "options are given for cgl, which is not compared"),
        ({"methods": ["dml"], "options": {"students": 3}}, "options: students=3 names no option; write METHOD.OPTION=VALUE"),
        ({"methods": ["dml"], "options": {"dml.student": 3}}, "unknown option of dml 'student'; did you mean students"),
        ({"variants": {"a/b": {"method": "dml"}}}, "variant a/b: a name may have letters, digits"),
        ({"variants": {"a": "dml"}}, "variant a is 'dml'; write the options"),
        ({"variants": {"a": {"students": 3, "method": "dml"}}}, "variant a: unknown option 'students'; did you mean student"),
        ({"variants": {"a": {"seed": 3, "method": "dml"}}}, "variant a: unknown option 'seed'"),
        ({"variants": {"a": {"epochs": "many", "method": "dml"}}}, "variant a: epochs is 'many'"),
        ({"variants": {"a": {"epochs": 0, "method": "dml"}}}, "variant a: epochs is 0"),
        ({"variants": {"a": {"epochs": 3}}}, "variant a names no method"),
        ({"variants": {"a": {"method": "kd", "teacher": "b"}, "b": {"method": "kd", "teacher": "a"}}}, "variant . is its own teacher"),
        ({"variants": {"a": {"method": "dml", "teacher": "resnet14"}}}, "variant a: dml takes no teacher"),
        ({"methods": ["dml"], "teacher": "resnet14"}, "teacher is resnet14, but no method that is compared takes a teacher; leave it out"),
        ({"methods": ["dml"], "teacher_epochs": 3}, "teacher_epochs is 3, but no method that is compared takes a teacher; leave it out"),
        ({"methods": ["cgl", "rdrop"], "peers": ["resnet14"]}, "peers"),
        ({"methods": ["dml"], "milestones": [1]}, "milestones is given, but the schedule is cosine, which has none"),
        (
            {"variants": {"a": {"method": "kd", "teacher": "b", "teacher_epochs": 2}, "b": {"method": "baseline"}}},
            "teacher_epochs is 2, but the teacher of a is the variant b, which has epochs of its own; leave it out",
        ),
        ({"methods": ["dml"], "seeds": 10**9}, "seeds is 1000000000; it must be at least 1 and at most 10,000"),
        ({"methods": ["dml"], "workers": 10**9}, "workers is 1000000000; it must be at least 1 and at most 1,024"),
        ({"methods": ["dml"], "ray": "auto"}, "ray is not installed"),
    ],
)
def test_bad_input(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(comparison, "run_all", lambda *_, **__: pytest.fail("a run was started"))
    with pytest.raises(UserError, match=message):
        studygroup.compare("digits", **{**SMALL, "cache": cache, "out": tmp_path / "out", "progress": False, **arguments})
    assert not (tmp_path / "out" / "runs").exists()


def test_folders_that_hold_something_else(compare: Compare, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds no comparison \(thesis.tex\); take another --out"):
        compare(methods=["dml"], overwrite=True)
    assert (out / "thesis.tex").exists()
    (out / "comparison.json").write_text('{"cells": []}')
    with pytest.raises(UserError, match=r"out holds a comparison of an earlier version; .* --overwrite"):
        compare(methods=["dml"])
    (out / "comparison.json").write_text("{")
    with pytest.raises(UserError, match=r"comparison.json is damaged"):
        compare(methods=["dml"])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot use .*file: Not a directory"):
        compare(methods=["dml"], out=tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot write to .*below: Not a directory; take another --out"):
        compare(methods=["dml"], out=tmp_path / "file" / "below")


def test_a_folder_locked_by_another_process(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    compare(methods=["dml"], seeds=1)
    before = sorted((tmp_path / "out").rglob("*"))
    for overwrite in (False, True):
        with lock_dir(tmp_path / "out"), pytest.raises(UserError, match=r"another process is at work in .*out; wait until it is done"):
            compare(methods=["dml"], seeds=2, overwrite=overwrite)
        assert sorted((tmp_path / "out").rglob("*")) == before


def test_an_unknown_option() -> None:
    with pytest.raises(TypeError, match="epoch"):
        studygroup.compare("digits", epoch=3)  # type: ignore[call-arg]


def test_a_diverging_baseline_has_no_budget(compare: Compare) -> None:
    with pytest.raises(TrainingError, match="baseline is not finite"):
        compare(methods=["dml"], learning_rate=1e30, epochs=2, budget="equal-compute")


def test_the_cost_of_a_trained_teacher_cannot_be_counted(compare: Compare, tmp_path: Path, cache: Path) -> None:
    teacher = studygroup.train("digits", method="baseline", out=tmp_path / "teacher", cache=cache, progress=False, **SMALL)
    with pytest.raises(UserError, match=r"count_teacher: the cost of training .*teacher is not known"):
        compare(methods=["kd"], teacher=teacher.folder, budget="equal-compute", count_teacher=True)
