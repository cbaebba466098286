"""Rows of the leaderboard: grouping by everything but the seed, mean and sample standard deviation, order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studygroup.reporting import leaderboard
from tests.run_folders import MakeRun


def test_mean_and_sample_deviation_over_seeds(make_run: MakeRun) -> None:
    tests = (0.90, 0.92, 0.97)
    rows = leaderboard([make_run(f"s{seed}", seed=seed, test=test) for seed, test in enumerate(tests)])
    (row,) = rows
    mean = sum(tests) / 3
    deviation = (sum((test - mean) ** 2 for test in tests) / 2) ** 0.5
    assert row["seeds"] == [0, 1, 2]
    for key, offset in {"test": 0.005, "last_test": -0.02, "members_test": -0.01, "ensemble_test": 0.01, "holdout": 0.02}.items():
        assert row[key] == pytest.approx(mean + offset), key
        assert row[f"{key}_std"] == pytest.approx(deviation), key
    assert row["diversity"] == pytest.approx(0.2)
    assert row["seconds"] == pytest.approx(10.0)
    assert row["parameters"] == 78_042
    assert (row["data"], row["method"], row["student"], row["finished"], row["epochs"]) == ("digits", "cgl", "resnet8", True, 5)


def test_a_single_seed_has_no_deviation(make_run: MakeRun) -> None:
    (row,) = leaderboard([make_run("a")])
    assert row["test"] == pytest.approx(0.905)
    assert row["test_std"] is None


def test_best_first_and_unfinished_last(make_run: MakeRun) -> None:
    runs = [
        make_run("a", method="dml", test=0.8),
        make_run("b", method="cgl", test=0.9),
        make_run("c", method="orc", finished=False, epochs=6),
        make_run("d", method="kd", test=0.85),
    ]
    rows = leaderboard(runs)
    assert [row["method"] for row in rows] == ["cgl", "kd", "dml", "orc"]
    unfinished = rows[-1]
    assert (unfinished["finished"], unfinished["epochs_done"], unfinished["epochs"], unfinished["test"]) == (False, 3, 6, None)
    assert unfinished["runs"] == [str(runs[2])]


def test_an_unfinished_seed_has_a_row_of_its_own(make_run: MakeRun) -> None:
    rows = leaderboard([make_run("a", seed=0), make_run("b", seed=1), make_run("c", seed=2, finished=False)])
    assert [(row["finished"], row["seeds"]) for row in rows] == [(True, [0, 1]), (False, [2])]
    assert rows[0]["settings"] == ""


def test_other_settings_make_another_row_that_shows_them(make_run: MakeRun) -> None:
    rows = leaderboard(
        [
            make_run("a", test=0.9, options={"students": 4}),
            make_run("b", test=0.8, options={"students": 8, "division": "fixed"}),
            make_run("c", method="dml", test=0.7, options={"students": 3}),
        ]
    )
    assert [(row["method"], row["settings"]) for row in rows] == [
        ("cgl", "division=default, students=4"),
        ("cgl", "division=fixed, students=8"),
        ("dml", ""),
    ]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("out", ("x", "y")),
        ("cache", ("x", "y")),
        ("device", ("cpu", "cuda")),
        ("progress", (True, False)),
        ("tensorboard", (True, False)),
        ("checkpoint_steps", (1, 2)),
    ],
)
def test_paths_and_other_incidental_options_make_no_other_row(make_run: MakeRun, key: str, values: tuple[object, object]) -> None:
    first, second = values
    assert len(leaderboard([make_run("a", settings={key: first}), make_run("b", seed=1, settings={key: second})])) == 1


def test_options_that_change_the_result_make_another_row(make_run: MakeRun) -> None:
    rows = leaderboard([make_run("a", settings={"split_seed": 0}), make_run("b", settings={"split_seed": 1})])
    assert {row["settings"] for row in rows} == {"split_seed=0", "split_seed=1"}


def test_a_teacher_of_the_same_seed_makes_no_other_row(make_run: MakeRun) -> None:
    same = [make_run(f"a{seed}", seed=seed, settings={"teacher": f"runs/digits-baseline-resnet20-s{seed}"}) for seed in (0, 1)]
    other = make_run("b", seed=2, settings={"teacher": "runs/digits-baseline-resnet56-s2"})
    assert sorted(len(row["seeds"]) for row in leaderboard([*same, other]) if isinstance(row["seeds"], list)) == [1, 2]


def test_a_number_that_one_seed_lacks_has_no_mean(make_run: MakeRun) -> None:
    first, second = make_run("a", seed=0), make_run("b", seed=1)
    result = json.loads((second / "result.json").read_text())
    result["last"]["diversity"] = None
    result["selected"]["holdout"] = None
    (second / "result.json").write_text(json.dumps(result))
    (row,) = leaderboard([first, second])
    assert row["diversity"] is None
    assert row["holdout"] is None
    assert row["test"] is not None


def test_disagreement_over_error_is_of_the_test_set_or_else_of_the_hold_out(make_run: MakeRun) -> None:
    folder = make_run("a", test=0.9)
    path = folder / "result.json"
    result = json.loads(path.read_text())
    result["last"] |= {"test": {"student0": 0.9, "student1": 0.8, "ensemble": 0.95, "pivot": 0.5}, "disagreement": 0.3}
    path.write_text(json.dumps(result))
    (row,) = leaderboard([folder])
    assert row["disagreement_ratio"] == pytest.approx(0.3 / 0.15)
    result["last"]["test"] = {}
    path.write_text(json.dumps(result))
    metrics = folder / "metrics.jsonl"
    *earlier, last = metrics.read_text().splitlines()
    record = json.loads(last) | {"holdout": {"student0": 0.7, "student1": 0.9, "ensemble": 0.9}, "disagreement": 0.1}
    metrics.write_text("\n".join([*earlier, json.dumps(record)]) + "\n")
    (row,) = leaderboard([folder])
    assert row["disagreement_ratio"] == pytest.approx(0.1 / 0.2)


def test_the_pivot_does_not_count_as_a_student(make_run: MakeRun) -> None:
    (row,) = leaderboard([make_run("a", test=0.5, students=2)])
    assert row["members_test"] == pytest.approx(0.49)  # the pivot's 0.99 is not in it


def test_a_run_folder_with_metrics_only(make_run: MakeRun) -> None:
    folder = make_run("only", finished=False, epochs=4)
    Path(folder / "config.yaml").unlink()
    (row,) = leaderboard([folder])
    assert (row["method"], row["epochs_done"], row["epochs"]) == ("only", 2, None)
