"""Comparisons end to end: what is trained, what is not trained again, what the table says."""

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
from studygroup import TrainingError, UserError, cli, reporting
from studygroup.lock import lock_dir
from studygroup.parameters import parameters_of
from studygroup.sweep import comparison
from studygroup.sweep.variants import make_variants
from studygroup.training.flops import TrainingCost
from tests.sweep.conftest import SMALL, Compare, Here, by_cell


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_two_methods_and_two_seeds(compare: Compare, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compare(methods=["dml"])
    assert here.begun == ["baseline-s0", "dml-s0", "baseline-s1", "dml-s1"], "the baseline is always there"
    assert here.closed == 1
    out = tmp_path / "out"
    rows = by_cell(result)
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
    assert "- command: `studygroup compare digits --methods dml --seeds 2 --student resnet8 --epochs 1 --batch-size 32" in written
    assert "--optimizer" not in written, "what is not said is not told"
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


def test_what_is_finished_is_not_run_again(compare: Compare, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compare(methods=["dml"])
    here.begun.clear()
    measured: list[str] = []
    real = comparison.measure
    monkeypatch.setattr(comparison, "measure", lambda variant, variants: measured.append(variant.name) or real(variant, variants))  # type: ignore[func-returns-value]
    assert compare(methods=["dml"])["rows"] == first["rows"]
    assert here.begun == []
    assert measured == []
    shutil.rmtree(tmp_path / "out" / "runs" / "dml-s1")
    assert [row["test"] for row in compare(methods=["dml"])["rows"]] == [row["test"] for row in first["rows"]], "the same numbers"
    assert here.begun == ["dml-s1"]
    here.begun.clear()
    compare(methods=["dml", "cl_ilr"], seeds=3)
    assert here.begun == ["cl_ilr-s0", "cl_ilr-s1", "baseline-s2", "dml-s2", "cl_ilr-s2"]
    assert measured == ["cl_ilr"]


@pytest.mark.slow
def test_a_stopped_run_goes_on(compare: Compare, here: Here, tmp_path: Path, cache: Path) -> None:
    whole = by_cell(compare(methods=["baseline"], seeds=1, epochs=2, out=tmp_path / "whole"))["baseline"]
    folder = tmp_path / "out" / "runs" / "baseline-s0"
    shutil.copytree(tmp_path / "whole" / "runs" / "baseline-s0", folder)
    shutil.copy(tmp_path / "whole" / "comparison.json", tmp_path / "out")
    (folder / "result.json").unlink()
    max((folder / "checkpoints").iterdir()).unlink()  # as after the first epoch
    assert by_cell(compare(methods=["baseline"], seeds=1, epochs=2))["baseline"]["test"] == whole["test"]
    assert here.begun[-1] == "baseline-s0"


def test_a_failed_cell_is_reported_and_the_rest_goes_on(compare: Compare, here: Here, tmp_path: Path) -> None:
    variants = {
        "wild": {"method": "dml", "learning_rate": 1e30},
        "pupil": {"method": "kd", "teacher": "wild"},
        "tame": {"method": {"name": "dml", "students": 3}},
    }
    result = compare(variants=variants, seeds=1)
    assert list(result["failed"]) == ["wild-s0", "pupil-s0"]
    assert "loss" in result["failed"]["wild-s0"]
    assert result["failed"]["pupil-s0"] == "its teacher wild-s0 failed"
    rows = by_cell(result)
    assert (rows["wild"]["seeds"], rows["wild"]["failed"], rows["wild"]["test"]) == ([], [0], None)
    assert rows["tame"]["difference"] is not None
    assert rows["tame"]["difference_low"] is None, "one seed"
    written = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "- failed: wild-s0: the cross_entropy loss" in written
    assert "an interval needs 2 seeds" in written
    assert "pupil-s0" not in here.begun


def test_the_exit_code_says_that_a_cell_failed(here: Here, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    small = "".join(f"{key}: {value}\n" for key, value in SMALL.items())
    recipe.write_text(f"data: digits\n{small}variants:\n  wild: {{method: dml, learning_rate: 1e30}}\n")
    words = f"compare --config {recipe} --seeds 1 --out {tmp_path / 'out'} --cache {cache} --no-progress"
    assert cli.main(words.split()) == 1
    written = capsys.readouterr().out
    assert "failed: wild-s0: the cross_entropy loss" in written
    assert "baseline" in written
    assert str(tmp_path / "out" / "leaderboard.csv") in written


def test_a_teacher_is_trained_once_for_all_methods_of_a_seed(compare: Compare, here: Here, tmp_path: Path) -> None:
    result = compare(methods=["kd", "baseline", "orc"], options={"orc.students": 2}, teacher="resnet14", seeds=2)
    assert here.begun[:4] == ["teacher-resnet14-s0", "baseline-s0", "kd-s0", "orc-s0"]
    assert len(here.begun) == 8
    for seed in (0, 1):
        taught = {result_of(tmp_path / "out" / "runs" / f"{name}-s{seed}")["identity"]["teacher"] for name in ("kd", "orc")}
        assert len(taught) == 1
    rows = by_cell(result)
    teacher = rows["teacher-resnet14"]
    assert result["rows"][-1] == teacher
    assert (teacher["role"], teacher["difference"]) == ("teacher", None)
    assert rows["kd"]["teacher_flops"] == teacher["flops"]
    assert rows["kd"]["teacher_cost"] == teacher["cost"] > 1
    assert rows["baseline"]["teacher_flops"] is None
    assert "what the training of the teacher cost stands beside it" in (tmp_path / "out" / "leaderboard.md").read_text()


@pytest.mark.slow
def test_a_run_as_the_teacher(compare: Compare, here: Here, tmp_path: Path, cache: Path) -> None:
    teacher = studygroup.train("digits", method="baseline", out=tmp_path / "teacher", cache=cache, progress=False, **SMALL)
    compare(methods=["kd"], teacher=teacher.folder, seeds=1)
    assert here.begun == ["baseline-s0", "kd-s0"]
    shutil.copytree(tmp_path / "teacher", tmp_path / "t-s0")
    shutil.copytree(tmp_path / "teacher", tmp_path / "t-s1")
    compare(methods=["kd"], teacher=str(tmp_path / "t-s{seed}"), seeds=2, out=tmp_path / "third")
    words = (tmp_path / "third" / "runs" / "kd-s1" / "config.yaml").read_text()
    assert str(tmp_path / "t-s1") in words
    with pytest.raises(UserError, match="t-s2"):
        compare(methods=["kd"], teacher=str(tmp_path / "t-s{seed}"), seeds=3, out=tmp_path / "fourth")


def test_scores_of_images_that_nothing_has_used(compare: Compare, tmp_path: Path) -> None:
    result = compare(methods=["dml"], seeds=1, score_on_unused=200)
    out = tmp_path / "out"
    for name, row in by_cell(result).items():
        scored = json.loads((out / "runs" / f"{name}-s0" / "unused.json").read_text())
        record = result_of(out / "runs" / f"{name}-s0")
        assert scored["samples"] == 200
        assert row["test"] == scored["accuracy"]["best"]
        assert row["last_test"] == scored["accuracy"][record["last"]["member"]]
        assert row["ensemble_test"] == scored["accuracy"]["ensemble"]
        assert row["test"] != record["selected"]["test"]
    written = (out / "leaderboard.md").read_text()
    assert "| validation |" in written
    assert "the test set is not used" in written
    assert " test |" not in written


STAND_INS = {"baseline": 100.0, "dml": 200.0, "cgl": 130.0, "kd": 140.0, "slow": 100_000.0, "teacher-resnet14": 300.0}


@pytest.mark.parametrize(
    ("count_teacher", "epochs"),
    [
        (False, {"baseline": 20, "dml": 10, "cgl": 15, "kd": 14, "slow": 1, "teacher-resnet14": 5}),
        (True, {"baseline": 20, "dml": 10, "cgl": 15, "kd": 3, "slow": 1, "teacher-resnet14": 5}),  # kd: (20 x 100 - 5 x 300) / 140
    ],
)
def test_equal_compute(
    compare: Compare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count_teacher: bool, epochs: dict[str, int]
) -> None:
    monkeypatch.setattr(comparison, "measure", lambda variant, _: TrainingCost(STAND_INS[variant.name] / 96, 96))
    monkeypatch.setattr(comparison, "run_all", lambda *_, **__: True)
    slow = {"slow": {"method": "orc", "teacher": "resnet14", "microbatches": 1}}
    schedule: dict[str, Any] = {"schedule": "milestones", "milestones": [10, 16], "warmup": 2.0}
    result = compare(
        methods=["dml", "cgl", "kd"],
        variants=slow,
        teacher="resnet14",
        teacher_epochs=5,
        epochs=20,
        budget="equal-compute",
        count_teacher=count_teacher,
        **schedule,
    )
    assert {row["variant"]: row["epochs"] for row in result["rows"]} == epochs
    costs = {row["variant"]: row["cost"] for row in result["rows"]}
    assert costs["dml"] == 1.0
    assert costs["cgl"] == pytest.approx(15 * 130 / 2000)
    assert all(cost <= 1 for name, cost in costs.items() if name != "slow")
    variants = {
        variant["name"]: variant["arguments"] for variant in json.loads((tmp_path / "out" / "comparison.json").read_text())["variants"]
    }
    assert variants["dml"]["milestones"] == [5, 8]
    assert variants["dml"]["warmup"] == 1.0
    assert variants["slow"]["milestones"] == [1]


@pytest.mark.slow
def test_equal_compute_with_measured_costs(compare: Compare, here: Here, tmp_path: Path) -> None:
    result = compare(methods=["dml"], seeds=1, epochs=5, budget="equal-compute")
    rows = by_cell(result)
    assert (rows["baseline"]["epochs"], rows["dml"]["epochs"]) == (5, 2)
    assert result_of(tmp_path / "out" / "runs" / "dml-s0")["epochs"] == 2
    assert "rounded down" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_stages_of_a_length_of_their_own_come_off_the_budget(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {
        "baseline": TrainingCost(1.0, 100),
        "takd": TrainingCost(2.0, 100),
        "ab": TrainingCost(1.0, 100, 700.0),
        "fsp": TrainingCost(1.0, 100, 9e9),
    }
    monkeypatch.setattr(comparison, "measure", lambda variant, _: costs.get(variant.name, TrainingCost(5.0, 100)))
    monkeypatch.setattr(comparison, "run_all", lambda *_, **__: True)
    options = {"takd.assistants": ["resnet8"]}
    result = by_cell(compare(methods=["takd", "ab", "fsp"], options=options, teacher="resnet14", epochs=20, budget="equal-compute"))
    assert {name: row["epochs"] for name, row in result.items()} == {"teacher-resnet14": 20, "baseline": 20, "takd": 10, "ab": 13, "fsp": 1}
    assert {name: row["flops"] for name, row in result.items() if name != "fsp"} == {
        "teacher-resnet14": 10_000.0,
        "baseline": 2_000.0,
        "takd": 2_000.0,
        "ab": 2_000.0,
    }


def measured(cache: Path, **given: Any) -> TrainingCost:
    """What a variant of this method costs on digits, from a resnet14 unless another teacher is given."""
    known = parameters_of(studygroup.train)
    words = {name: word.default for name, word in parameters_of(studygroup.compare).items()}
    words |= {**SMALL, "data": "digits", "cache": cache, "teacher": "resnet14", "methods": [given.pop("method")], **given}
    variants, _ = make_variants(words, known)
    return comparison.measure(variants[-1], variants)


@pytest.mark.parametrize("epochs", [1, 3])
def test_all_stages_of_a_method_are_counted(cache: Path, epochs: int) -> None:
    """An assistant, and the student that it teaches, learn as by kd; the training of the first teacher is no part of it."""
    assistant = measured(cache, method="kd", student="resnet14", teacher="resnet20").flops_per_epoch
    student = measured(cache, method="kd", student="resnet8", teacher="resnet14").flops_per_epoch
    along = measured(cache, method="takd", epochs=epochs, teacher="resnet20", options={"takd.assistants": ["resnet14"]})
    assert along.flops_before == 0
    assert along.flops_per_epoch == pytest.approx(assistant + student)
    options = {"takd.assistants": ["resnet14"], "takd.assistant_epochs": 2}
    fixed = measured(cache, method="takd", epochs=epochs, teacher="resnet20", options=options)
    assert fixed.flops_before == pytest.approx(2 * assistant)
    assert fixed.flops_per_epoch == pytest.approx(student)
    assert fixed.flops(5) == pytest.approx(2 * assistant + 5 * student)


def test_a_first_stage_is_counted(cache: Path) -> None:
    alone = measured(cache, method="dml", teacher=None).flops_per_epoch / 2
    found = {epochs: measured(cache, method="ft", options={"ft.initial_epochs": epochs}) for epochs in (1, 4)}
    assert found[4].flops_before == pytest.approx(4 * found[1].flops_before)
    assert found[1].flops_before > 0
    assert found[4].flops_per_epoch == found[1].flops_per_epoch > alone


def test_seconds_and_the_table_are_of_all_stages(compare: Compare, here: Here, tmp_path: Path) -> None:
    result = by_cell(compare(methods=["ab"], options={"ab.initial_epochs": 2}, teacher="resnet14", seeds=1))
    folder = tmp_path / "out" / "runs" / "ab-s0"
    first, last = result_of(folder / "stages" / "initial"), result_of(folder)
    assert first["epochs"] == 2
    assert result["ab"]["seconds"] == pytest.approx(first["seconds"] + last["seconds"])
    assert result["teacher-resnet14"]["seconds"] == result_of(tmp_path / "out" / "runs" / "teacher-resnet14-s0")["seconds"]
    (variant,) = (
        variant for variant in json.loads((tmp_path / "out" / "comparison.json").read_text())["variants"] if variant["name"] == "ab"
    )
    assert result["ab"]["flops"] == variant["flops_before"] + variant["flops_per_sample"] * variant["samples_per_epoch"]
    assert result["ab"]["cost"] > 2


def test_a_folder_that_counts_the_last_stage_only(compare: Compare, here: Here, tmp_path: Path) -> None:
    """As earlier versions left it: it is read as it is, and the same command counts anew and trains nothing."""
    words: dict[str, Any] = {"methods": ["fsp"], "options": {"fsp.initial_epochs": 1}, "teacher": "resnet8", "seeds": 1}
    whole = by_cell(compare(**words))["fsp"]
    path = tmp_path / "out" / "comparison.json"
    manifest = json.loads(path.read_text())
    for variant in manifest["variants"]:
        before = variant.pop("flops_before")
        for word in ("text_columns", "tokenizer"):  # that there was not
            del variant["arguments"][word]
    path.write_text(json.dumps(manifest))
    assert by_cell(reporting.comparison(tmp_path / "out"))["fsp"]["flops"] == whole["flops"] - before > 0
    here.begun.clear()
    assert by_cell(compare(**words))["fsp"] == whole
    assert here.begun == []


def test_the_cost_of_a_given_teacher_cannot_be_counted(compare: Compare, tmp_path: Path, cache: Path) -> None:
    teacher = studygroup.train("digits", method="baseline", out=tmp_path / "teacher", cache=cache, progress=False, **SMALL)
    with pytest.raises(UserError, match=r"count_teacher: what the training of .*teacher cost is not known"):
        compare(methods=["kd"], teacher=teacher.folder, budget="equal-compute", count_teacher=True)


def test_other_words_for_what_was_trained_are_refused(compare: Compare, here: Here, tmp_path: Path) -> None:
    compare(methods=["dml"], seeds=1)
    with pytest.raises(UserError, match=r"baseline in .*out was trained otherwise \(epochs was 1, is 2\); .* --overwrite"):
        compare(methods=["dml"], seeds=1, epochs=2)
    with pytest.raises(UserError, match=r"dml in .*method_options was \{\}, is \{'students': 3\}"):
        compare(methods=["dml"], options={"dml": {"students": 3}}, seeds=1)
    here.begun.clear()
    assert by_cell(compare(methods=["dml"], seeds=1, epochs=2, overwrite=True))["dml"]["epochs"] == 2
    assert here.begun == ["baseline-s0", "dml-s0"]


def test_the_recipe_that_is_left_goes_on(compare: Compare, here: Here, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare(methods=["dml"], options={"dml.students": 3}, seeds=1)
    here.begun.clear()
    assert cli.main(["compare", "--config", str(tmp_path / "out" / "comparison.yaml"), "--seeds", "2"]) == 0
    assert here.begun == ["baseline-s1", "dml-s1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["cgll"]}, "unknown method 'cgll'; did you mean cgl"),
        ({"methods": ["dml"], "seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"methods": ["dml"], "workers": 0}, "workers is 0; it must be at least 1"),
        ({"methods": ["dml"], "score_on_unused": -1}, "score_on_unused is -1"),
        ({"methods": ["dml"], "score_on_unused": 5000}, "score_on_unused is 5000, but only 1294 of the training samples are not used"),
        ({"methods": ["dml"], "epochs": 0}, "epochs is 0"),
        ({}, "there is nothing to compare; give --methods"),
        ({"methods": ["dml", "dml"]}, "dml is given twice"),
        ({"methods": [studygroup.DML(students=2)]}, "methods holds DML; give names"),
        ({"methods": ["kd"]}, "kd learns from a teacher"),
        ({"methods": ["kd"], "teacher": "resnet9"}, "'resnet9' is neither a run's folder nor a network"),
        ({"methods": ["kd"], "teacher": "runs/nowhere"}, "'runs/nowhere' is neither a run's folder nor a network"),
        ({"methods": ["dml"], "student": "resnet9"}, "unknown network 'resnet9'"),
        ({"methods": ["dml"], "student": object()}, "student is a python object"),
        ({"methods": ["dml"], "options": {"cgl.students": 3}}, "options are given for cgl, which is not compared"),
        ({"methods": ["dml"], "options": {"students": 3}}, "options: students=3 names no option; write METHOD.OPTION=VALUE"),
        ({"methods": ["dml"], "options": {"dml.student": 3}}, "unknown option of dml 'student'; did you mean students"),
        ({"variants": {"a/b": {"method": "dml"}}}, "variant a/b: its name is to be a folder's"),
        ({"variants": {"a": "dml"}}, "variant a is 'dml'; write the words"),
        ({"variants": {"a": {"students": 3, "method": "dml"}}}, "variant a: unknown key 'students'; did you mean student"),
        ({"variants": {"a": {"seed": 3, "method": "dml"}}}, "variant a: unknown key 'seed'"),
        ({"variants": {"a": {"epochs": "many", "method": "dml"}}}, "variant a: epochs is 'many'"),
        ({"variants": {"a": {"epochs": 0, "method": "dml"}}}, "variant a: epochs is 0"),
        ({"variants": {"a": {"epochs": 3}}}, "variant a names no method"),
        ({"variants": {"a": {"method": "kd", "teacher": "b"}, "b": {"method": "kd", "teacher": "a"}}}, "variant . learns from itself"),
        ({"variants": {"a": {"method": "dml", "teacher": "resnet14"}}}, "variant a: dml takes no teacher"),
        ({"methods": ["cgl"], "options": {"cgl.students": 40}, "batch_size": 64}, "cgl: "),
        ({"methods": ["dml"], "ray": "auto"}, "ray is not installed"),
    ],
)
def test_bad_input(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(comparison, "run_all", lambda *_, **__: pytest.fail("nothing is to be trained"))
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
    (out / "comparison.json").write_text("{")
    with pytest.raises(UserError, match=r"comparison.json is damaged"):
        compare(methods=["dml"])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot use .*file: Not a directory"):
        compare(methods=["dml"], out=tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot write to .*below: Not a directory; take another --out"):
        compare(methods=["dml"], out=tmp_path / "file" / "below")


def test_a_division_for_each_seed(compare: Compare, tmp_path: Path) -> None:
    result = compare(methods=["dml"], seeds=2, split_by_seed=True)
    assert result["split_by_seed"]
    assert "Each seed divides the data anew: the interval is of other data, too." in (tmp_path / "out" / "leaderboard.md").read_text()

    def tested(name: str) -> list[str]:
        with (tmp_path / "out" / "runs" / name / "predictions" / "test.csv").open(newline="") as file:
            return [row["label"] for row in csv.DictReader(file)]

    assert tested("baseline-s0") == tested("dml-s0") != tested("baseline-s1") == tested("dml-s1")
    with pytest.raises(UserError, match=r"was trained otherwise \(split_by_seed was True, is False\)"):
        compare(methods=["dml"], seeds=2)


def test_a_folder_that_another_comparison_has(compare: Compare, here: Here, tmp_path: Path) -> None:
    compare(methods=["dml"], seeds=1)
    before = sorted((tmp_path / "out").rglob("*"))
    for overwrite in (False, True):
        with lock_dir(tmp_path / "out"), pytest.raises(UserError, match=r"another process is at work in .*out; wait until it is done"):
            compare(methods=["dml"], seeds=2, overwrite=overwrite)
        assert sorted((tmp_path / "out").rglob("*")) == before


def test_a_word_that_there_is_not() -> None:
    with pytest.raises(TypeError, match="epoch"):
        studygroup.compare("digits", epoch=3)


def test_a_baseline_that_diverges_is_no_budget(compare: Compare) -> None:
    with pytest.raises(TrainingError, match="baseline is not finite"):
        compare(methods=["dml"], learning_rate=1e30, epochs=2, budget="equal-compute")
