"""Who was promoted, over the epochs of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studygroup.analysis import roles
from studygroup.errors import UserError
from tests.analysis.conftest import Train
from tests.run_folders import MakeRun, make_run

__all__ = ["make_run"]


def test_promotions_are_counted(train: Train) -> None:
    run = train("orc", {"temporary_teachers": 2}, teacher="resnet8", teacher_epochs=1, epochs=3)
    counts = roles.promotions(run.folder)
    assert list(counts) == ["student0", "student1", "student2"]
    steps = json.loads(run.files.metrics.read_text().splitlines()[0])["steps"]
    assert [sum(column) for column in zip(*counts.values(), strict=True)] == [2 * steps] * 3, "two in every step"
    shares = roles.feedback_shares(run.folder)
    assert [sum(column) for column in zip(*shares.values(), strict=True)] == pytest.approx([1.0] * 3)


def test_the_deepest_are_always_promoted(train: Train) -> None:
    run = train("orc", {"promotion": "deepest", "intensive": "off"}, peers=["resnet8", "resnet14"], teacher="resnet8", teacher_epochs=1)
    steps = json.loads(run.files.metrics.read_text().splitlines()[0])["steps"]
    assert roles.promotions(run.folder) == {"student0": [0], "student1": [0], "student2": [steps]}
    with pytest.raises(UserError, match="has no metric fed; give a run of orc that this version trained, with feedback"):
        roles.feedback_shares(run.folder)


def test_runs_without_metrics(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no metric promoted; give a run of orc"):
        roles.promotions(make_run("earlier"))
    begun = make_run("begun", epochs=1, finished=False)
    with pytest.raises(UserError, match="has no epoch yet; give a run of orc"):
        roles.promotions(begun)
    (begun / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="has no epoch yet"):
        roles.promotions(begun)
    with pytest.raises(UserError, match="there is no run folder"):
        roles.promotions(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "damage", ['{"epoch": 1, "metrics": 5}', '{"epoch": 1, "metrics": {"student0/promoted": "x"}}', '{"epoch": 1, "steps": -1}']
)
def test_damaged_metrics(make_run: MakeRun, damage: str) -> None:
    run = make_run("damaged")
    (run / "metrics.jsonl").write_text(damage + "\n")
    with pytest.raises(UserError, match="is damaged at line 1"):
        roles.promotions(run)
