"""Fake run folders."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from studygroup import config
from studygroup.options import TrainOptions
from studygroup.runs.layout import FORMAT


class MakeRun(Protocol):
    def __call__(
        self,
        name: str,
        *,
        method: str = ...,
        seed: int = ...,
        epochs: int = ...,
        finished: bool = ...,
        test: float = ...,
        students: int = ...,
        holdout: bool = ...,
        settings: Mapping[str, object] | None = ...,
        options: Mapping[str, object] | None = ...,
    ) -> Path: ...


def write_run(
    folder: Path,
    *,
    method: str = "cgl",
    seed: int = 0,
    epochs: int = 5,
    finished: bool = True,
    test: float = 0.9,
    students: int = 2,
    holdout: bool = True,
    settings: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write a run folder whose student's last test accuracies are `test`, `test` - 0.02, ... and whose ensemble has `test` + 0.01."""
    folder.mkdir(parents=True)
    names = [f"student{k}" for k in range(students)]
    given = {"data": "digits", "student": "resnet8", "method": method, "epochs": epochs, "seed": seed, "out": str(folder)}
    config.save(folder / "config.yaml", TrainOptions.from_plain({**given, "method_options": options or {}, **(settings or {})}))
    noise = random.Random(f"{method}{seed}")
    done = epochs if finished else epochs // 2
    lines = []
    for epoch in range(done):
        rise = 1 - math.exp(-4 * (epoch + 1) / epochs)
        accuracy = {name: test * rise - 0.02 * k + noise.uniform(-0.01, 0.01) for k, name in enumerate(names)}
        lines.append(
            {
                "epoch": epoch + 1,
                "seconds": 2.0,
                "samples_per_second": 700.0,
                "learning_rate": 0.05,
                "losses": {f"{name}/{loss}": (3 - test) * (1.05 - rise) for name in names for loss in ("cross_entropy", "imitation")},
                "holdout": {**accuracy, **({"ensemble": max(accuracy.values()) + 0.01} if students > 1 else {})} if holdout else {},
                "holdout_cross_entropy": dict.fromkeys(names, (3 - test) * (1.1 - rise)) if holdout else {},
                "diversity": 0.05 * students * (1.2 - rise) if students > 1 else None,
            }
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        last_test = {name: test - 0.02 * k for k, name in enumerate(names)}
        result = {
            "format": FORMAT,
            "data": "digits",
            "method": method,
            "student": "resnet8",
            "seed": seed,
            "epochs": epochs,
            "candidates": names,
            "seconds": 2.0 * epochs,
            "parameters": {**dict.fromkeys(names, 78_042), "pivot": 1_000_000},
            "trained_parameters": 155_000,
            "selected": {"member": names[0], "epoch": epochs, "holdout": test + 0.02, "test": test + 0.005},
            "last": {
                "epoch": epochs,
                "member": names[-1],
                "holdout": {name: test - 0.01 * (students - k) for k, name in enumerate(names)},
                "test": {**last_test, **({"ensemble": test + 0.01} if students > 1 else {}), "pivot": 0.99},
                "diversity": 0.2 if students > 1 else None,
            },
            "holdout_samples": 100,
            "test_samples": 300,
        }
        (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(name: str, **details: object) -> Path:
        write: Callable[..., Path] = write_run
        return write(tmp_path / name, **details)

    return make
