"""Comparisons of tiny runs on digits, one variant after the other in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup.reporting import comparison_plot, curves
from studygroup.sweep import comparison, worker
from studygroup.sweep.worker import Outcome, Task

SMALL: dict[str, Any] = {
    "preset": "none",
    "student": "resnet8",
    "epochs": 1,
    "train_size": 96,
    "holdout": 48,
    "batch_size": 32,
    "precision": "float32",
}
Compare = Callable[..., dict[str, Any]]


class InProcess:
    """Executor that runs every task in this process when it is started, and records the names."""

    slots, description = 2, "this process"

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: dict[str, Outcome] = {}
        self.closed = 0

    def start(self, name: str, task: Task) -> None:
        self.started.append(name)
        self.ended[name] = worker.work(replace(task, threads=None))

    def wait(self, seconds: float) -> dict[str, Outcome]:
        ended, self.ended = self.ended, {}
        return ended

    def stop(self) -> None:
        raise AssertionError("no stop was requested")

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    executor = InProcess()
    monkeypatch.setattr(comparison_plot, "draw_comparison", lambda *_: None)  # plots take longer than such runs
    monkeypatch.setattr(curves, "draw", lambda *_: None)
    monkeypatch.setattr(comparison, "choose_executor", lambda *_: executor)
    return executor


@pytest.fixture
def compare(tmp_path: Path, cache: Path, executor: InProcess) -> Compare:
    """Return `studygroup.compare` with defaults for tiny runs, which writes to `tmp_path/out`."""

    def run(**arguments: Any) -> dict[str, Any]:
        rest: dict[str, Any] = {"cache": cache, "out": tmp_path / "out", "progress": False, "control": False, "linear_model": False}
        given = {**SMALL, "seeds": 2, **rest, **arguments}
        result: dict[str, Any] = studygroup.compare(given.pop("data", "digits"), **given)
        return result

    return run


def by_variant(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in result["rows"]}


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found
