"""Costs of variants, and equal compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studygroup import reporting
from studygroup.errors import UserError
from studygroup.options import CompareOptions
from studygroup.sweep import comparison, cost
from studygroup.sweep.variants import make_variants
from studygroup.training.flops import TrainingCost
from tests.sweep.conftest import SMALL, Compare, InProcess, by_variant, result_of

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
    monkeypatch.setattr(cost, "measure", lambda variant, _: TrainingCost(STAND_INS[variant.name] / 96, 96))
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
        variant["name"]: variant["options"] for variant in json.loads((tmp_path / "out" / "comparison.json").read_text())["variants"]
    }
    assert variants["dml"]["milestones"] == [5, 8]
    assert variants["dml"]["warmup"] == 1.0
    assert variants["slow"]["milestones"] == [1]


def test_each_of_several_teachers_counts_once(compare: Compare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    costs = {**STAND_INS, "big": 100.0, "alone": 140.0}
    monkeypatch.setattr(cost, "measure", lambda variant, _: TrainingCost(costs[variant.name] / 96, 96))
    monkeypatch.setattr(comparison, "run_all", lambda *_, **__: True)
    kd: dict[str, Any] = {"method": "kd", "teacher": ["big", "resnet14"], "teacher_epochs": 2}
    variants = {"big": {"method": "baseline", "student": "resnet20", "epochs": 6}, "kd": kd, "alone": {**kd, "teacher": "resnet14"}}
    result = compare(variants=variants, epochs=20, budget="equal-compute", count_teacher=True)
    # kd: (20 x 100 - 6 x 100 - 2 x 300) / 140; the shared teacher counts in the other method, too
    assert {row["variant"]: row["epochs"] for row in result["rows"]} == {
        "baseline": 20,
        "kd": 5,
        "alone": 10,
        "big": 6,
        "teacher-resnet14": 2,
    }
    rows = by_variant(result)
    assert rows["kd"]["teacher_flops"] == pytest.approx(6 * 100 + 2 * 300)
    assert (rows["kd"]["teacher"], rows["alone"]["teacher"]) == ("big, teacher-resnet14", "teacher-resnet14")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("studygroup.sweep.variants._check", lambda *_: None)
    variants["kd"] = {**kd, "teacher": ["big", str(tmp_path / "run")], "teacher_epochs": None}
    with pytest.raises(UserError, match=r"count_teacher: the cost of training .*run is not known"):
        compare(variants=variants, epochs=20, budget="equal-compute", count_teacher=True, overwrite=True)


@pytest.mark.slow
def test_equal_compute_with_measured_costs(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    result = compare(methods=["dml"], seeds=1, epochs=5, budget="equal-compute")
    rows = by_variant(result)
    assert (rows["baseline"]["epochs"], rows["dml"]["epochs"]) == (5, 2)
    assert result_of(tmp_path / "out" / "runs" / "dml-s0")["epochs"] == 2
    assert "rounded down" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_stages_of_a_fixed_length_are_subtracted_from_the_budget(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {
        "baseline": TrainingCost(1.0, 100),
        "takd": TrainingCost(2.0, 100),
        "ab": TrainingCost(1.0, 100, 700.0),
        "fsp": TrainingCost(1.0, 100, 9e9),
    }
    monkeypatch.setattr(cost, "measure", lambda variant, _: costs.get(variant.name, TrainingCost(5.0, 100)))
    monkeypatch.setattr(comparison, "run_all", lambda *_, **__: True)
    options = {"takd.assistants": ["resnet8"]}
    result = by_variant(compare(methods=["takd", "ab", "fsp"], options=options, teacher="resnet14", epochs=20, budget="equal-compute"))
    assert {name: row["epochs"] for name, row in result.items()} == {"teacher-resnet14": 20, "baseline": 20, "takd": 10, "ab": 13, "fsp": 1}
    assert {name: row["flops"] for name, row in result.items() if name != "fsp"} == {
        "teacher-resnet14": 10_000.0,
        "baseline": 2_000.0,
        "takd": 2_000.0,
        "ab": 2_000.0,
    }


def measured(cache: Path, method: str, **given: Any) -> TrainingCost:
    """Measure the cost of a method on digits, with a resnet14 as the teacher unless another one is given."""
    words = {**SMALL, "data": "digits", "cache": cache, "teacher": "resnet14", "methods": [method], **given}
    variants, _ = make_variants(CompareOptions(**words))
    return cost.measure(variants[-1], variants)


@pytest.mark.parametrize("epochs", [1, 3])
def test_all_stages_of_a_method_are_counted(cache: Path, epochs: int) -> None:
    """An assistant and its student are trained as with kd; the training of the first teacher is not included."""
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


def test_seconds_and_costs_include_all_stages(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    result = by_variant(compare(methods=["ab"], options={"ab.initial_epochs": 2}, teacher="resnet14", seeds=1))
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


def test_a_comparison_without_the_cost_of_earlier_stages(compare: Compare, executor: InProcess, tmp_path: Path) -> None:
    """A comparison without the cost of earlier stages is read as it is; the same command counts again and trains nothing."""
    words: dict[str, Any] = {"methods": ["fsp"], "options": {"fsp.initial_epochs": 1}, "teacher": "resnet8", "seeds": 1}
    whole = by_variant(compare(**words))["fsp"]
    path = tmp_path / "out" / "comparison.json"
    manifest = json.loads(path.read_text())
    for variant in manifest["variants"]:
        before = variant.pop("flops_before")
        for name in ("text_columns", "tokenizer"):  # as if they were new options
            del variant["options"][name]
    path.write_text(json.dumps(manifest))
    assert by_variant(reporting.comparison(tmp_path / "out"))["fsp"]["flops"] == whole["flops"] - before > 0
    executor.started.clear()
    assert by_variant(compare(**words))["fsp"] == whole
    assert executor.started == []


def test_the_stage_of_a_distilled_student_is_counted(compare: Compare, tmp_path: Path) -> None:
    variants = {"alone": {}, "dml": {"method": "dml"}, "distilled": {"method": "dml", "hand_over": "distilled"}}
    rows = by_variant(compare(methods=[], variants=variants, seeds=1, method="baseline"))
    assert rows["distilled"]["flops"] > rows["dml"]["flops"] + rows["alone"]["flops"]
