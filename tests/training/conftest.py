"""Small runs on digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup.runs.member import Run

SMALL: dict[str, Any] = {
    "preset": "none",
    "epochs": 2,
    "train_size": 160,
    "holdout": 48,
    "batch_size": 32,
    "progress": False,
    "precision": "float32",
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' data is prepared."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def train(tmp_path: Path, cache: Path) -> Callable[..., Run]:
    """Train briefly on digits, into `tmp_path/run` unless `out` says otherwise."""

    def run(**arguments: Any) -> Run:
        given = {**SMALL, "cache": cache, "out": tmp_path / "run", "linear_model": False, **arguments}
        return studygroup.train(given.pop("data", "digits"), **given)

    return run


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished run whose student can teach."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    studygroup.train("digits", method="baseline", student="resnet8", out=folder, cache=cache, **SMALL)
    return folder
