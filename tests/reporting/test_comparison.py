"""Comparison folders -> rows, tables and a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from studygroup.errors import UserError
from studygroup.reporting import COMPARISON_FILES, comparison, render_comparison, write_comparison
from studygroup.reporting.colours import kind
from studygroup.reporting.comparison_tables import operations, render_comparison_markdown
from studygroup.runs.evaluation import Evaluation, Outcomes, write_evaluations
from studygroup.runs.layout import RunFiles
from tests.run_folders import MakeRun

# By variant: method, teacher, FLOPs of an epoch, test accuracies by seed (0: the run failed).
VARIANTS: dict[str, tuple[str, str | None, float | None, list[float]]] = {
    "teacher": ("baseline", None, 3e9, [0.95, 0.95, 0.95]),
    "baseline": ("baseline", None, 1e9, [0.90, 0.91, 0.89]),
    "dml": ("dml", None, 2e9, [0.91, 0.93, 0.89]),
    "dml-4": ("dml", None, None, [0.88, 0.0, 0.86]),
    "kd": ("kd", "teacher", 1.5e9, [0.93, 0.94, 0.92]),
}


@pytest.fixture
def folder(tmp_path: Path, make_run: MakeRun) -> Path:
    variants = []
    for name, (method, teacher, flops, tests) in VARIANTS.items():
        for seed, test in enumerate(tests):
            if test:
                make_run(f"out/runs/{name}-s{seed}", method=method, seed=seed, test=test, students=1 if method == "baseline" else 2)
        cost = {} if flops is None else {"flops_per_sample": flops / 1000, "samples_per_epoch": 1000}
        options = {"method": method, "student": "resnet8", "teacher": None, "epochs": 5}
        variants.append({"name": name, "options": options, "teacher": teacher, "teaches": name == "teacher", **cost})
    manifest = {
        "data": "digits",
        "reference": "baseline",
        "seeds": [0, 1, 2],
        "budget": "equal-epochs",
        "count_teacher": False,
        "score_on_unused": 0,
        "split_by_seed": False,
        "command": "studygroup compare digits",
        "executor": "2 processes",
        "machine": {"processor": "A processor", "gpu": None},
        "variants": variants,
        "failed": {"dml-4-s1": "the loss is nan"},
    }
    (tmp_path / "out" / "comparison.json").write_text(json.dumps(manifest))
    return tmp_path / "out"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drawn(result: dict[str, Any], width: int | None = None) -> str:
    console = Console(width=width or 300, file=io.StringIO(), record=True)
    console.print(render_comparison(result, width))
    return console.export_text()


def test_rows(folder: Path) -> None:
    result = comparison(folder)
    rows = {row["variant"]: row for row in result["rows"]}
    assert list(rows) == ["kd", "dml", "baseline", "dml-4", "teacher"]
    dml = rows["dml"]
    assert dml["difference_by_seed"] == pytest.approx({0: 0.01, 1: 0.02, 2: 0.0})
    assert dml["difference"] == pytest.approx(0.01)
    assert dml["difference_high"] - dml["difference"] == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)
    four = rows["dml-4"]
    assert (four["seeds"], four["failed"]) == ([0, 2], [1])
    assert four["difference_by_seed"] == pytest.approx({0: -0.02, 2: -0.03}), "only common seeds count"
    assert (four["flops"], four["cost"]) == (None, None)
    assert (dml["flops"], dml["cost"], dml["teacher_cost"]) == (1e10, 2.0, None)
    assert (rows["kd"]["cost"], rows["kd"]["teacher_cost"]) == (1.5, 3.0)
    assert rows["baseline"]["difference"] is None
    assert rows["teacher"]["difference"] is None
    assert result["test_samples"] == 300
    json.dumps(result)


def test_an_unfinished_run_is_left_out(folder: Path) -> None:
    (folder / "runs" / "kd-s2" / "result.json").unlink()
    kd = next(row for row in comparison(folder)["rows"] if row["variant"] == "kd")
    assert (kd["seeds"], kd["failed"]) == ([0, 1], [])


def test_markdown(folder: Path) -> None:
    lines = render_comparison_markdown(comparison(folder)).splitlines()
    assert lines[0] == "# digits · resnet8 · seeds 0 to 2 · equal epochs"
    assert lines[2].startswith("| method | epochs | seeds | hold-out | test | test – baseline | last epoch |")
    assert lines[4].startswith("| kd | 5 | 3 | 95.00 ± 1.00 | 93.50 ± 1.00 | +3.00 [+3.00, +3.00] | 91.00 ± 1.00 |")
    assert lines[5].startswith("| dml | 5 | 3 | 93.00 ± 2.00 | 91.50 ± 2.00 | +1.00 [-1.48, +3.48] |")
    assert lines[6].startswith("| baseline | 5 | 3 | 92.00 ± 1.00 | 90.50 ± 1.00 | 0 |")
    assert lines[7].startswith("| dml-4 | 5 | 2, 1 failed |")
    assert lines[8].startswith("| teacher | 5 | 3 |")
    assert lines[4].endswith("| 7.5 GFLOP | 1.50 x | 3.00 x | 10 s |")
    assert len({line.count("|") for line in lines[2:9]}) == 1
    text = "\n".join(lines)
    for expected in (
        "Sorted by hold-out accuracy, not by test accuracy",
        "test (300 samples)",
        "95% interval of Student's t",
        "- failed: dml-4-s1: the loss is nan",
        "- seeds: 0, 1, 2",
        "- commit: unknown",
        "- command: `studygroup compare digits`",
        "A processor; 2 processes",
    ):
        assert expected in text
    assert "an interval needs 2 seeds" not in text
    assert "counted in the equal compute" not in text


def test_notes_on_budgets_and_single_seeds(folder: Path) -> None:
    edit(folder, budget="equal-compute", seeds=[0])
    text = render_comparison_markdown(comparison(folder))
    assert "and is not counted in the equal compute" in text
    assert "as many epochs as cost what the baseline's 5 cost, rounded down" in text
    assert "an interval needs 2 seeds in common, and there are fewer" in text
    assert "95% interval" not in text
    assert "| +1.00 |" in text
    edit(folder, count_teacher=True)
    assert "and is counted in the equal compute" in render_comparison_markdown(comparison(folder))


def test_without_a_hold_out_the_order_is_that_of_the_variants(folder: Path) -> None:
    for path in folder.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        result["selected"]["holdout"] = None
        path.write_text(json.dumps(result))
    result = comparison(folder)
    assert [row["variant"] for row in result["rows"]] == ["baseline", "dml", "dml-4", "kd", "teacher"]
    text = render_comparison_markdown(result)
    assert "Nothing is held out: in the given order" in text
    assert "| hold-out |" not in text


def test_the_terminal(folder: Path) -> None:
    result = comparison(folder)
    wide = drawn(result)
    for expected in ("kd", "93.50 ± 1.00", "+1.00 [-1.48, +3.48]", "7.5 GFLOP", "3.00 x", "78,042"):
        assert expected in wide
    narrow = drawn(result, 80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "+1.00 [-1.48, +3.48]" in narrow
    assert "A wider terminal" in " ".join(narrow.split())


def test_all_files(folder: Path) -> None:
    write_comparison(folder)
    assert {path.name for path in folder.iterdir()} == {*COMPARISON_FILES, "comparison.json", "runs"} - {"metrics.png"}
    picture = np.asarray(Image.open(folder / "leaderboard.png").convert("RGB"))
    assert picture.shape[1] > 1200
    assert (picture < 250).any(-1).mean() > 0.01, "something is drawn"
    assert json.loads((folder / "leaderboard.json").read_text())["rows"][0]["variant"] == "kd"
    assert "0=0.01;1=0.02" in (folder / "leaderboard.csv").read_text()


def test_a_picture_of_one_variant_with_one_seed(folder: Path) -> None:
    manifest = json.loads((folder / "comparison.json").read_text())
    edit(folder, seeds=[0], variants=[variant for variant in manifest["variants"] if variant["name"] == "baseline"])
    write_comparison(folder)
    assert (folder / "leaderboard.png").exists()


def test_a_picture_of_many_variants(folder: Path) -> None:
    manifest = json.loads((folder / "comparison.json").read_text())
    variants = manifest["variants"]
    for number in range(9):
        (folder / "runs" / f"more-{number}-s0").symlink_to(folder / "runs" / "dml-s0")
        variants.append({**variants[2], "name": f"more-{number}"})
    edit(folder, variants=variants)
    write_comparison(folder)
    assert (folder / "leaderboard.png").exists()


def scored(probability: float, classes: tuple[str, ...]) -> Evaluation:
    labels = np.arange(6) % len(classes)
    predicted = np.where(np.arange(6) == 1, 0, labels)
    values = np.full(6, probability)
    return Evaluation.of(Outcomes(labels, predicted, values, np.log(values), np.zeros(6, dtype=np.int64)), classes)


def test_scores_by_class_beside_the_baselines(folder: Path) -> None:
    classes = ("a|b", "=c", "c" * 200)
    for variant, probability in (("kd", 0.9), ("baseline", 0.7)):
        for seed in (0, 1):
            write_evaluations(RunFiles(folder / "runs" / f"{variant}-s{seed}"), {"best": scored(probability, classes)})
    result = comparison(folder)
    found = result["by_class"]
    assert (found["variant"], found["reference"], found["seeds"]) == ("kd", "baseline", [0, 1])
    assert [row["samples"] for row in found["classes"]] == [4, 4, 4]
    assert [row["f1"] for row in found["classes"]] == pytest.approx([0.8, 2 / 3, 1.0])
    rows = {row["variant"]: row for row in result["rows"]}
    assert rows["kd"]["negative_log_likelihood"] is None, "a run without"
    markdown = render_comparison_markdown(result)
    assert "## F1 by class: kd and baseline" in markdown
    assert r"| a\|b | 0.800 | 0.800 | 4 |" in markdown
    write_evaluations(RunFiles(folder / "runs" / "baseline-s2"), {"best": scored(0.7, classes)})
    row = {row["variant"]: row for row in comparison(folder)["rows"]}["baseline"]
    assert row["negative_log_likelihood"] == pytest.approx(-np.log(0.7))
    assert row["calibration_error"] == pytest.approx(5 / 6 - 0.7)
    edit(folder, score_on_unused=100)
    assert comparison(folder)["by_class"] is None, "the test set is not used"


def test_colours_tell_how_a_network_was_trained(folder: Path) -> None:
    assert {row["variant"]: kind(row) for row in comparison(folder)["rows"]} == {
        "kd": "distilled",
        "dml": "group",
        "dml-4": "group",
        "baseline": "alone",
        "teacher": "teacher",
    }


def test_pictures_of_hostile_names(folder: Path) -> None:
    manifest = json.loads((folder / "comparison.json").read_text())
    (folder / "runs" / "$\\frac{-s0").symlink_to(folder / "runs" / "dml-s0")
    edit(folder, data="a\n$b_{$" + "x" * 300, variants=[*manifest["variants"], {**manifest["variants"][2], "name": "$\\frac{"}])
    write_comparison(folder)
    with Image.open(folder / "leaderboard.png") as picture:
        assert picture.width == 1500


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (7.5e9, "7.5 GFLOP"), (1.234e15, "1.23 PFLOP"), (2e19, "20 EFLOP"), (12.0, "1.2e-05 MFLOP")]
)
def test_operations(value: float | None, text: str) -> None:
    assert operations(value) == text


def test_folders_without_a_comparison(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no comparison"):
        comparison(tmp_path)
    (tmp_path / "comparison.json").write_text('{"cells": []}')
    with pytest.raises(UserError, match="holds a comparison of an earlier version"):
        comparison(tmp_path)
    (tmp_path / "comparison.json").write_text("[]")
    with pytest.raises(UserError, match=r"comparison.json is damaged"):
        comparison(tmp_path)
