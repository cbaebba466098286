"""Reading run folders, finished and unfinished; errors for damaged files and for folders without a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from studygroup.errors import UserError
from studygroup.runs.reader import read_manifest, read_run, read_runs
from tests.run_folders import MakeRun


def test_a_run_is_read(make_run: MakeRun) -> None:
    record = read_run(make_run("a", seed=3, epochs=4, students=2, options={"students": 2}))
    assert (record.seed, record.name("data"), record.name("method"), record.candidates) == (3, "digits", "cgl", ["student0", "student1"])
    assert [epoch["epoch"] for epoch in record.epochs] == [1, 2, 3, 4]
    assert record.settings["method.students"] == 2


def test_seconds_are_summed_over_the_stages_of_the_method(make_run: MakeRun) -> None:
    run = make_run("a", method="takd", epochs=4)
    assert read_run(run).seconds == 8.0
    make_run("a/stages/teacher", method="baseline", epochs=50)
    make_run("a/stages/assistant1", method="takd", epochs=3)
    make_run("a/stages/assistant2", method="takd", epochs=2, finished=False)
    assert read_run(run).seconds == 14.0
    assert read_run(make_run("b", finished=False)).seconds is None


def test_an_incomplete_last_line_is_skipped(make_run: MakeRun) -> None:
    metrics = make_run("a", epochs=6, finished=False) / "metrics.jsonl"
    whole = read_run(metrics.parent).epochs
    metrics.write_text(metrics.read_text() + '{"epoch": 3, "loss')
    assert read_run(metrics.parent).epochs == whole


def test_of_a_repeated_epoch_the_last_record_counts(make_run: MakeRun) -> None:
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


def test_manifests_of_comparisons(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    path = tmp_path / "comparison.json"
    path.write_text('{"variants": []}')
    assert read_manifest(tmp_path) == {"variants": []}
    path.write_text('{"cells": [], "place": "2 processes"}')
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds a comparison of an earlier version; take another folder, or run it again with --overwrite"
    )
    for text in ("[]", "{"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"comparison.json is damaged; delete that file"):
            read_manifest(tmp_path)
