"""Run folders are read back, also unfinished ones; damaged ones and folders that hold none are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from studygroup.errors import UserError
from studygroup.runs.reader import read_run, read_runs
from tests.reporting.conftest import MakeRun


def test_a_run_is_read(make_run: MakeRun) -> None:
    record = read_run(make_run("a", seed=3, epochs=4, students=2, options={"students": 2}))
    assert (record.seed, record.name("data"), record.name("method"), record.candidates) == (3, "digits", "cgl", ["student0", "student1"])
    assert [epoch["epoch"] for epoch in record.epochs] == [0, 1, 2, 3]
    assert record.settings["method.students"] == 2


def test_seconds_are_those_of_all_own_stages(make_run: MakeRun) -> None:
    run = make_run("a", method="takd", epochs=4)
    assert read_run(run).seconds == 8.0
    make_run("a/stages/teacher", method="baseline", epochs=50)
    make_run("a/stages/assistant1", method="takd", epochs=3)
    make_run("a/stages/assistant2", method="takd", epochs=2, finished=False)
    assert read_run(run).seconds == 14.0
    assert read_run(make_run("b", finished=False)).seconds is None


def test_a_line_that_a_killed_process_left_half_written_is_left_out(make_run: MakeRun) -> None:
    metrics = make_run("a", epochs=6, finished=False) / "metrics.jsonl"
    whole = read_run(metrics.parent).epochs
    metrics.write_text(metrics.read_text() + '{"epoch": 3, "loss')
    assert read_run(metrics.parent).epochs == whole


def test_an_epoch_that_was_trained_again_counts_once(make_run: MakeRun) -> None:
    metrics = make_run("a", epochs=3) / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines, lines[-1].replace('"seconds": 2.0', '"seconds": 9.0')]))
    epochs = read_run(metrics.parent).epochs
    assert [epoch["seconds"] for epoch in epochs] == [2.0, 2.0, 9.0]


def test_a_damaged_line_is_named(make_run: MakeRun) -> None:
    metrics = make_run("a", epochs=3) / "metrics.jsonl"
    metrics.write_text("nonsense\n" + metrics.read_text())
    with pytest.raises(UserError, match=r"metrics.jsonl is damaged at line 1"):
        read_run(metrics.parent)


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_damaged_result_is_named(make_run: MakeRun, text: str) -> None:
    result = make_run("a") / "result.json"
    result.write_text(text)
    with pytest.raises(UserError, match=r"result.json is damaged"):
        read_run(result.parent)


def test_folders_without_a_run(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run folder .*none"):
        read_run(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no run; give the folder"):
        read_run(tmp_path / "empty")
    make_run("a")
    with pytest.raises(UserError, match=r"holds no run; did you mean .*a"):
        read_run(tmp_path)
    with pytest.raises(UserError, match="no run is given"):
        read_runs([])


def test_a_folder_named_twice_is_read_once(make_run: MakeRun) -> None:
    folder = make_run("a")
    assert len(read_runs([folder, folder / ".." / "a", str(folder) + "/"])) == 1
