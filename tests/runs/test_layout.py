"""The paths of run folders and comparison folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from studygroup.runs.layout import ComparisonFiles, RunFiles, run_name


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "checkpoints", "result.json"])
def test_a_folder_with_any_file_of_a_run_holds_a_run(tmp_path: Path, name: str) -> None:
    assert not RunFiles(tmp_path).exists()
    (tmp_path / "notes.txt").touch()
    assert not RunFiles(tmp_path).exists()
    (tmp_path / name).touch()
    assert RunFiles.of(str(tmp_path)).exists()


def test_stages_are_run_folders_in_alphabetical_order(tmp_path: Path) -> None:
    run = RunFiles(tmp_path)
    assert run.stages() == []
    for name in ("teacher", "assistant1"):
        run.stage(name).mkdir(parents=True)
    assert run.stages() == [RunFiles(tmp_path / "stages" / "assistant1"), RunFiles(tmp_path / "stages" / "teacher")]


def test_runs_of_a_comparison() -> None:
    files = ComparisonFiles(Path("out"))
    assert run_name("dml-4", 2) == "dml-4-s2"
    assert files.run("dml-4", 2).weights("best") == Path("out/runs/dml-4-s2/members/best.safetensors")
    assert files.run("dml-4", 2).card("best") == Path("out/runs/dml-4-s2/members/best.json")
