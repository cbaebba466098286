"""Comparisons of tiny runs on digits, one variant after the other in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup.reporting import comparison_plot, curves
from studygroup.sweep import comparison, worker

SMALL: dict[str, Any] = {"student": "resnet8", "epochs": 1, "train_size": 96, "holdout": 48, "batch_size": 32, "precision": "float32"}
Compare = Callable[..., dict[str, Any]]


class Here:
    """Runs every task at once, in this process, and notes their names."""

    slots, what = 2, "this process"

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: dict[str, dict[str, str]] = {}
        self.closed = 0

    def start(self, name: str, task: Any) -> None:
        self.begun.append(name)
        self.ended[name] = worker.work({**task, "threads": None})

    def wait(self, seconds: float) -> dict[str, dict[str, str]]:
        ended, self.ended = self.ended, {}
        return ended

    def stop(self) -> None:
        raise AssertionError("nobody asked")

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    executor = Here()
    monkeypatch.setattr(comparison_plot, "draw_comparison", lambda *_: None)  # pictures take longer than such runs
    monkeypatch.setattr(curves, "draw", lambda *_: None)
    monkeypatch.setattr(comparison, "choose_executor", lambda *_: executor)
    return executor


@pytest.fixture
def compare(tmp_path: Path, cache: Path, here: Here) -> Compare:
    """`studygroup.compare` of tiny runs, into `tmp_path/out` unless `out` says otherwise."""

    def run(**arguments: Any) -> dict[str, Any]:
        given = {**SMALL, "seeds": 2, "cache": cache, "out": tmp_path / "out", "progress": False, **arguments}
        result: dict[str, Any] = studygroup.compare(given.pop("data", "digits"), **given)
        return result

    return run


def by_cell(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in result["rows"]}
