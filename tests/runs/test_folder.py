"""Run folders and comparison folders are known by a mark, and nothing else is ever deleted."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from studygroup import UserError
from studygroup.runs.contents import MARK, kind_of_folder, mark
from studygroup.runs.folder import check_run_dir, clear_dir, lock_run_dir, remove_empty_run
from tests.run_folders import MakeRun

OURS = (
    "config.yaml",
    "metrics.jsonl",
    ".metrics.jsonl.part",
    "checkpoints/epoch-000001-step-00000000.ckpt",
    "checkpoints/.epoch-000002-step-00000000.ckpt.part",
    "members/best.safetensors",
    "members/best.json",
    "members/best.hf/config.json",
    "exported/best.int8.onnx",
    "stages/teacher/members/best.json",
    "advice/rung1/runs/dml-s0/stages/teacher/config.yaml",
)


def fill(folder: Path, names: tuple[str, ...]) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content")
    return sorted(folder.rglob("*"))


def overwrite(folder: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(lock_run_dir(folder, resume=False, overwrite=True))


def test_a_run_is_deleted_whole(tmp_path: Path) -> None:
    fill(tmp_path, OURS)
    mark(tmp_path, "run")
    (tmp_path / "checkpoints" / "epoch-000003-step-00000000.ckpt").symlink_to("/etc/hostname")  # the link goes, its target stays
    overwrite(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert Path("/etc/hostname").exists()


@pytest.mark.parametrize("names", [("config.yaml", "src/main.py"), ("checkpoints/a.pt",), ("config.yaml", ".git/HEAD"), ("result.json",)])
def test_a_project_is_no_run(names: tuple[str, ...], tmp_path: Path) -> None:
    before = fill(tmp_path, names)
    with pytest.raises(UserError, match=r"is not empty and holds no run"):
        overwrite(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["src/", "notes.txt", "members/mine.pt", "stages/teacher/thesis.tex", "exported/deep/", "runs/a/b/"])
def test_nothing_is_deleted_beside_other_files(name: str, tmp_path: Path) -> None:
    fill(tmp_path, (*OURS, name + "file.txt" if name.endswith("/") else name))
    mark(tmp_path, "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=rf"\({name}\), so nothing was deleted; move that elsewhere, or take another --out"):
        overwrite(tmp_path)
    with pytest.raises(UserError, match="nothing was deleted"):
        clear_dir(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    fill(elsewhere, ("epoch-000001-step-00000000.ckpt",))
    run.mkdir()
    mark(run, "run")
    (run / "checkpoints").symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"\(checkpoints\), so nothing was deleted"):
        overwrite(run)
    assert len(list(elsewhere.iterdir())) == 1


def test_folders_of_earlier_versions(make_run: MakeRun, tmp_path: Path) -> None:
    finished, started, empty = make_run("finished"), tmp_path / "started", tmp_path / "empty"
    started.mkdir()
    empty.mkdir()
    assert kind_of_folder(started) is None
    (started / "environment.json").write_text(json.dumps({"versions": {"studygroup": "0.1"}}))
    (empty / "comparison.json").write_text('{"cells": []}')
    assert [kind_of_folder(folder) for folder in (finished, started, empty)] == ["run", "run", "comparison"]
    overwrite(finished)
    check_run_dir(started, resume=True, overwrite=False)
    for content in ("", "[]", "{}", '{"method": "dml"}', "[" * 100_000):
        (finished / "result.json").write_text(content)
        assert kind_of_folder(finished) is None


def test_a_comparison_is_no_run(tmp_path: Path) -> None:
    mark(tmp_path, "comparison")
    with pytest.raises(UserError, match="holds no run"):
        overwrite(tmp_path)
    (tmp_path / MARK).write_text('{"kind": ["run"]}')
    assert kind_of_folder(tmp_path) is None


def test_a_start_without_training_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "run", ("config.yaml", "data.json", "environment.json"))
    mark(tmp_path / "run", "run")
    remove_empty_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
