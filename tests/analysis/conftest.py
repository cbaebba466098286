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
    "epochs": 1,
    "train_size": 160,
    "holdout": 40,
    "batch_size": 32,
    "progress": False,
    "precision": "float32",
    "linear_model": False,
}
Train = Callable[..., Run]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' data is prepared."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Train:
    """Train briefly."""

    def run(method: str, options: dict[str, Any] | None = None, **arguments: Any) -> Run:
        folder = tmp_path_factory.mktemp(method) / "run"
        return studygroup.train(
            arguments.pop("data", "digits"), **{**SMALL, **arguments}, method=method, method_options=options, out=folder, cache=cache
        )

    return run


@pytest.fixture(scope="session")
def alone(train: Train) -> Run:
    """A run of a single student that has learnt something."""
    return train("baseline", epochs=3, train_size=None)


@pytest.fixture(scope="session")
def cgl(train: Train) -> Run:
    """A run of four routes."""
    return train("cgl", {"students": 4})
