"""What is compared, from words alone: cells, the baseline among them, their teachers. The studies are read as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studygroup import api, config
from studygroup.errors import UserError
from studygroup.sweep.variants import Cell, make_cells, train_arguments
from studygroup.sweep.comparison import command
from studygroup.methods import METHODS
from studygroup.parameters import parameters_of

KNOWN = parameters_of(api.train)
COMPARE = parameters_of(api.compare)
STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


def words(**given: Any) -> dict[str, Any]:
    return {name: word.default for name, word in COMPARE.items()} | {"data": "digits", **given}


def cells_of(**given: Any) -> tuple[dict[str, Cell], str]:
    cells, reference = make_cells(words(**given), KNOWN)
    return {cell.name: cell for cell in cells}, reference


def test_the_baseline_joins() -> None:
    cells, reference = cells_of(methods=["dml"], epochs=7)
    assert reference == "baseline"
    assert list(cells) == ["baseline", "dml"]
    assert [cell.arguments["epochs"] for cell in cells.values()] == [7, 7]


@pytest.mark.parametrize(
    ("cells", "reference"),
    [
        ({"x": {"method": "dml"}, "alone": {"method": "baseline"}}, "alone"),
        ({"big": {"method": "baseline", "student": "resnet20"}, "x": {"method": "dml"}}, "baseline"),
        ({"alone": {"method": "baseline"}, "baseline": {"method": "baseline", "learning_rate": 0.1}}, "baseline"),
        ({"first": {"method": "baseline", "epochs": 100}, "second": {"method": "baseline"}}, "first"),
    ],
)
def test_which_cell_is_the_baseline(cells: dict[str, Any], reference: str) -> None:
    found, chosen = cells_of(cells=cells)
    assert chosen == reference
    assert set(found) == {*cells, reference}


def test_what_a_method_does_not_take_it_does_not_get() -> None:
    cells, _ = cells_of(methods=["dml", "kd"], peers=["resnet14"], teacher="resnet20")
    assert cells["dml"].arguments["peers"] == ["resnet14"]
    assert cells["dml"].arguments["teacher"] is None
    assert cells["kd"].arguments["peers"] == []
    assert cells["baseline"].arguments["peers"] == []
    assert cells["baseline"].arguments["teacher"] is None
    assert cells["kd"].teacher == "teacher-resnet20"


def test_a_network_that_teaches_is_a_cell_as_train_would_train_it() -> None:
    cells, _ = cells_of(methods=["kd"], teacher="resnet20", teacher_epochs=9, accumulate=2, learning_rate_scales={"student0": 0.5})
    teacher = cells["teacher-resnet20"]
    assert teacher.teaches
    own = {name: teacher.arguments[name] for name in ("method", "student", "epochs", "accumulate", "learning_rate_scales", "teacher")}
    assert own == {
        "method": "baseline",
        "student": "resnet20",
        "epochs": 9,
        "accumulate": 1,
        "learning_rate_scales": None,
        "teacher": None,
    }
    assert next(iter(cells)) == "teacher-resnet20"
    assert train_arguments(cells["kd"], list(cells.values()), 3)["teacher"] == "resnet20"


def test_each_seed_may_divide_the_data_anew(tmp_path: Path) -> None:
    for by_seed, expected in ((False, [7, 7]), (True, [7, 9])):
        cells, _ = cells_of(methods=["kd"], teacher="resnet20", split_seed=7, split_by_seed=by_seed)
        for cell in cells.values():
            assert [train_arguments(cell, list(cells.values()), seed)["split_seed"] for seed in (0, 2)] == expected
    with pytest.raises(UserError, match=r"split_by_seed: the teacher .* has learnt from what other seeds keep for the test; .*\{seed\}"):
        cells_of(methods=["kd"], teacher=str(tmp_path), split_by_seed=True)


def test_options_on_top_of_each_other() -> None:
    cells, _ = cells_of(
        methods=["cgl", "dml"],
        method="cgl",
        method_options={"modules": 3, "students": 2},
        options={"cgl.students": "8", "cgl": {"probability": 0.5}, "dml.detach": "false"},
        cells={"own": {"method": {"name": "cgl", "students": 4}}, "same": {}, "other": {"method": "baseline"}},
    )
    assert cells["cgl"].arguments["method_options"] == {"modules": 3, "students": 8, "probability": 0.5}
    assert cells["same"].arguments["method_options"] == cells["cgl"].arguments["method_options"]
    assert cells["own"].arguments["method_options"] == {"modules": 3, "students": 4, "probability": 0.5}
    assert cells["dml"].arguments["method_options"] == {"detach": False}
    assert cells["other"].arguments["method_options"] == {}


def test_cells_know_every_word_of_train() -> None:
    cells, _ = cells_of(methods=["dml"], cache=Path("/somewhere"))
    rest = {"seed", "out", "resume", "overwrite", "progress"}
    assert set(KNOWN) - set(cells["dml"].arguments) == rest
    assert cells["dml"].arguments["cache"] == "/somewhere"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_can_be_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mails.csv").touch()  # which is made by hand
    monkeypatch.chdir(tmp_path)
    given = config.load(path, api.train, api.compare)
    cells, reference = make_cells(words(**given), KNOWN)
    plain = next(cell for cell in cells if cell.name == reference)
    assert plain.arguments["method"] == "baseline"
    assert not plain.teaches
    names = [cell.name for cell in cells]
    for cell in cells:
        assert (cell.teacher is not None) == METHODS[str(cell.arguments["method"])].needs_teacher
        assert cell.teacher is None or names.index(cell.teacher) < names.index(cell.name)


def test_there_are_studies() -> None:
    assert len(STUDIES) >= 7


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"methods": ("dml", "cgl")}, "studygroup compare digits --methods dml,cgl --seeds 3"),
        (
            {
                "methods": ("dml",),
                "seeds": 5,
                "epochs": 3,
                "nesterov": False,
                "learning_rate": 0.1,
                "out": "x",
                "workers": 2,
                "ray": "auto",
            },
            "studygroup compare digits --methods dml --seeds 5 --epochs 3 --learning-rate 0.1 --no-nesterov",
        ),
        (
            {"methods": ("dml",), "options": {"dml.detach": False, "dml": {"students": 3}}, "milestones": (3, 5), "count_teacher": True},
            "studygroup compare digits --methods dml --seeds 3 --options dml.students=3 dml.detach=false --count-teacher --milestones 3,5",
        ),
        (
            {"methods": ("dml",), "split_by_seed": True, "tensorboard": True, "nesterov": False},
            "studygroup compare digits --methods dml --seeds 3 --split-by-seed --no-nesterov",
        ),
        ({"cells": {"a": {"method": "dml"}}}, "studygroup compare --config comparison.yaml"),
    ],
)
def test_the_command_of_a_comparison(given: dict[str, Any], line: str) -> None:
    assert command(words(**given), KNOWN) == line
