"""The steps of an advice: what is trained at which compute, who wins, and how the time is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from studygroup import TrainingError, UserError
from studygroup.options import TrainOptions
from studygroup.runs.contents import MARK, kind_of_folder
from tests.advice.conftest import SAMPLES, World, folders, interrupted, operations, saturating

Advise = Callable[..., dict[str, Any]]


def trained(folder: Path) -> TrainOptions:
    from studygroup import config

    return config.load_group(folder / "config.yaml", TrainOptions)


def compute(folder: Path) -> float:
    """Return the operations of a fake run, its teacher's included."""
    options = trained(folder)
    assert options.epochs is not None
    teacher = compute(Path(str(options.teacher))) if options.teacher is not None else 0.0
    return 3e6 * operations(options) * SAMPLES * options.epochs + teacher


def test_where_nothing_is_better_the_student_is_trained_alone_for_as_long_as_it_needs(advise: Advise, world: World, tmp_path: Path) -> None:
    world.accuracy = lambda options: saturating(options, top=0.9 if options.method == "baseline" else 0.85)
    result = advise()
    winner = result["winner"]
    assert (winner["kind"], result["finished"]) == ("alone", True)
    assert result["needed_epochs"] == 50, "from 25 to 50 epochs gains, from 50 to 100 does not"
    assert winner["epochs"] == 50, "100 and 200 epochs are 0.1 points better, which is a tie, and cost more"
    assert f"--method baseline --student resnet8 --epochs {winner['epochs']}" in result["command"]
    assert result["left_out"]["one"] == "this network has no branches; take another"
    page = (tmp_path / "out" / "advice.md").read_text()
    assert "On digits, train resnet8 alone" in page
    assert result["command"] in page
    assert "- left out: one: this network has no branches" in page
    assert json.loads((tmp_path / "out" / "advice.json").read_text())["winner"]["name"] == winner["name"]


def test_a_group_that_is_better_at_equal_compute_wins(advise: Advise, world: World) -> None:
    world.accuracy = lambda options: saturating(options, top=0.94 if options.method == "dml" else 0.9)
    result = advise()
    winner = result["winner"]
    assert winner["name"] == "dml"
    control = next(row for row in result["rows"] if row["control"])
    assert winner["difference"] == pytest.approx(0.04, abs=0.005)
    assert winner["low"] <= winner["difference"] <= winner["high"]
    assert winner["training"] <= control["training"] < winner["training"] * 1.05
    assert winner["epochs"] == control["epochs"] // 2, "two networks at the compute of one"
    assert f"studygroup train digits --method dml --student resnet8 --epochs {winner['epochs']} --train-size 96" in result["command"]
    assert "--holdout-seed" not in result["command"]


def test_all_of_a_rung_have_the_same_total_compute_teachers_included(advise: Advise, world: World, tmp_path: Path) -> None:
    world.accuracy = lambda options: saturating(options, top=0.93 if options.method in ("kd", "orc") else 0.9)
    advise()
    out = tmp_path / "out"
    rungs = sorted(name for name in folders(out) if name.startswith("rung"))
    assert len(rungs) >= 2
    budgets = []
    for rung in rungs:
        runs = out / rung / "runs"
        budget = compute(runs / "baseline-s0")
        budgets.append(budget)
        for run in folders(out)[rung]:
            if not run.startswith(("baseline", "teacher")):
                assert 0.8 * budget < compute(runs / run) <= budget * 1.001, run
    assert all(later >= 1.5 * before for before, later in pairwise(budgets))
    assert budgets[-1] <= 4.01 * 3e6 * SAMPLES * 50


def test_the_better_half_goes_on_and_the_student_alone_always_does(advise: Advise, world: World, tmp_path: Path) -> None:
    order = {"dml": 0.95, "cgl": 0.94, "kd": 0.93}
    world.accuracy = lambda options: order.get(str(options.method), 0.9)
    result = advise(candidates=["dml", "cgl", "kd", "weight-decay"], time_limit="3h")
    found = folders(tmp_path / "out")

    def names(rung: str) -> set[str]:
        return {run.rpartition("-")[0] for run in found[rung]}

    assert names("rung1") == {"baseline", "teacher", "dml", "cgl", "kd", "weight-decay"}
    assert names("rung2") == {"baseline", "dml", "cgl"}
    assert names("rung3") == {"baseline", "dml"}
    assert result["winner"]["name"] == "dml"
    assert {row["name"]: row["comparison"] for row in result["rows"]}["kd"] == "rung1"


def test_a_student_that_still_gains_is_trained_longer(advise: Advise, world: World) -> None:
    world.accuracy = lambda options: saturating(options, top=0.9, needs=400.0)
    result = advise(time_limit="20m", candidates=["dml"])
    assert result["finished"] is False
    assert result["curves"]["verdict"] == "under-fitted"
    assert result["winner"]["kind"] == "alone"
    assert result["winner"]["epochs"] == max(row["epochs"] for row in result["rows"] if row["kind"] == "alone")


@pytest.mark.parametrize(("linear", "finished"), [(0.2, True), (0.6, False)])
def test_a_student_below_the_linear_model_has_not_begun_to_learn(
    advise: Advise, world: World, tmp_path: Path, linear: float, finished: bool
) -> None:
    world.accuracy, world.linear = lambda options: 0.3, linear
    result = advise(time_limit="20m", candidates=["dml"])
    assert result["finished"] is finished
    assert result["linear"]["holdout"] == pytest.approx(linear)
    assert (len(result["lengths"]) > 2) is not finished
    assert ("it is worse than the linear model" in (tmp_path / "out" / "advice.md").read_text()) is not finished


def test_every_seed_has_its_own_hold_out_and_all_share_the_test_set(advise: Advise, tmp_path: Path) -> None:
    advise(candidates=["dml"], seeds=2, split_seed=5)
    runs = [trained(path) for path in sorted((tmp_path / "out" / "rung1" / "runs").iterdir())]
    assert {(run.seed, run.holdout_seed, run.split_seed) for run in runs} == {(0, 5, 5), (1, 6, 5)}
    assert not any(run.score_test for run in runs)


@pytest.mark.parametrize(("overhead", "factor"), [(2.0, 1.0), (12.0, 2.0), (4.0, 0.8)])
@pytest.mark.parametrize("limit", [900, 3600])
def test_the_time_limit_is_kept(advise: Advise, world: World, overhead: float, factor: float, limit: int) -> None:
    world.overhead, world.factor = overhead, factor
    world.accuracy = lambda options: saturating(options, needs=400.0)  # which would use any time
    result = advise(time_limit=f"{limit}s")
    assert world.now <= 1.1 * limit
    assert world.now >= 0.6 * limit
    assert result["seconds"] == pytest.approx(world.now, abs=1)


def test_a_stopped_advice_goes_on_and_ends_the_same(advise: Advise, world: World, tmp_path: Path) -> None:
    world.accuracy = lambda options: saturating(options, top=0.94 if options.method == "dml" else 0.9)
    whole = advise(candidates=["dml", "smoothing"], out=tmp_path / "whole")
    runs, measured, world.started[:], world.measured[:], world.now = list(world.started), list(world.measured), [], [], 0.0
    with interrupted(world, after=9):
        advise(candidates=["dml", "smoothing"])
    first = list(world.started)
    assert len(first) == 9
    assert {"dml-s0", "smoothing-s2"} - {name for _, name in first}, "it was stopped in a rung"
    again = advise(candidates=["dml", "smoothing"])
    done = {(path.parents[2].name, path.parent.name) for path in (tmp_path / "out").glob("*/runs/*/result.json")}
    assert done >= set(first)
    assert len(world.started) <= len(runs) + 2, "only runs that were under way are trained again"
    assert sorted(world.measured) == sorted(measured), "nothing is measured twice"
    assert again["winner"]["name"] == whole["winner"]["name"]
    before = len(world.started)
    assert advise(candidates=["dml", "smoothing"])["winner"] == again["winner"]
    assert len(world.started) == before, "a finished one is only read"


def test_the_test_set_may_stay_closed(advise: Advise, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("studygroup.advice.answer.score_on_test", lambda _: pytest.fail("nobody asked for it"))
    assert advise(candidates=["dml"], score_test=False)["test"] is None
    assert "test set" not in (tmp_path / "out" / "advice.md").read_text()


def test_other_options_need_another_folder(advise: Advise, tmp_path: Path) -> None:
    advise(candidates=["dml"])
    with pytest.raises(UserError, match=r"the advice in .*out had other options \(seeds was 3, is 2\); take another --out"):
        advise(candidates=["dml"], seeds=2)
    assert advise(candidates=["dml"], seeds=2, overwrite=True)["seeds"] == 2


def test_a_time_limit_that_is_too_short_is_refused_and_a_longer_one_goes_on(advise: Advise, world: World) -> None:
    with pytest.raises(UserError, match=r"time_limit is 10s, but the student alone and one candidate, with 3 seeds .* give more"):
        advise(time_limit="10s")
    assert world.started == []
    assert advise(time_limit="30m")["rows"]


def test_little_time_is_for_few_candidates(advise: Advise, world: World) -> None:
    world.accuracy = saturating
    result = advise(time_limit="6m")
    assert world.now <= 1.1 * 360
    assert "there was no time for it" in result["left_out"].values()
    trained_here = {row["name"] for row in result["rows"] if row["kind"] != "alone"}
    assert trained_here
    assert len(trained_here) < 5


def test_candidates_that_all_fail_are_named(advise: Advise, world: World, tmp_path: Path) -> None:
    def accuracy(options: TrainOptions) -> float:
        if options.method == "dml":
            raise TrainingError("the cross_entropy loss is not finite")
        return 0.9

    world.accuracy = accuracy
    result = advise(candidates=["dml"])
    assert result["winner"]["kind"] == "alone"
    assert result["left_out"] == {"dml": "failed: the cross_entropy loss is not finite"}
    assert "left out: dml: failed: the cross_entropy loss is not finite" in (tmp_path / "out" / "advice.md").read_text()


def test_candidates_that_cannot_be_trained_here_are_named(advise: Advise) -> None:
    with pytest.raises(UserError, match="none of the candidates can be trained here: one: this network has no branches; take another"):
        advise(candidates=["one"])


def test_a_student_that_cannot_be_trained_is_an_error(advise: Advise, world: World) -> None:
    def accuracy(options: TrainOptions) -> float:
        raise TrainingError("the cross_entropy loss is not finite")

    world.accuracy = accuracy
    with pytest.raises(TrainingError, match="the student alone failed: the cross_entropy loss is not finite"):
        advise()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"holdout": 0}, "holdout is 0, but candidates are compared on the hold-out set"),
        ({"holdout": 1e-9}, r"digits has 1 hold-out samples beside 96 to learn from, .* give a larger --holdout, or more data"),
        ({"candidates": ["dmll"]}, "unknown candidate 'dmll'"),
        ({"teacher": "resnet20"}, "teacher is resnet20, but an advice trains its own"),
        ({"teacher_epochs": 3}, "teacher_epochs is 3, but an advice trains its own"),
        ({"time_limit": "soon"}, "time_limit is 'soon'"),
    ],
)
def test_bad_input(advise: Advise, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        advise(**given)


def test_a_folder_with_something_else_is_kept(advise: Advise, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="is not empty and holds no advice"):
        advise(overwrite=True)


def test_a_folder_with_the_files_of_an_advice_but_no_mark_is_kept(advise: Advise, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("advice.yaml", "advice.md", "journal.json"):
        (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(UserError, match="is not empty and holds no advice"):
        advise(overwrite=True)
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_an_advice_of_an_earlier_version_has_no_mark(advise: Advise, tmp_path: Path) -> None:
    advise(candidates=["dml"])
    (tmp_path / "out" / MARK).unlink()
    assert kind_of_folder(tmp_path / "out") == "advice"
    advise(candidates=["dml"])
    assert (tmp_path / "out" / MARK).is_file()


def test_a_class_that_is_not_held_out_is_named(advise: Advise, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="studygroup"):
        advise(holdout=4, candidates=["dml"])
    assert "is held out: the choice says nothing about" in caplog.text
