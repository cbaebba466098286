"""Runs that start from weights: what is loaded, the normalisation, resume, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from studygroup import UserError
from studygroup.options import RunOptions
from studygroup.pipeline.setup import method_of, open_splits, plan_stages, run_options, settings_of
from studygroup.pipeline.stages import network_factory
from studygroup.runs.member import Run
from studygroup.training.trainer import Interrupted
from tests.networks.reference_resnet import trained_reference
from tests.training.test_resume import assert_same, stop_at

BASE: dict[str, Any] = {"method": "dml", "student": "resnet8", "threads": 1, "epochs": 1}


def test_start_from_a_run(train: Callable[..., Run], teacher: Path, cache: Path) -> None:
    run = train(**BASE, weights=str(teacher))
    first, second = (json.loads(run.files.card(name).read_text()) for name in ("student0", "student1"))
    assert first["starts_from"].startswith(f"weights of {teacher}: ") and "renamed, 0 left out" in first["starts_from"]
    assert "starts_from" not in second
    assert run.result["identity"]["weights"]
    options = run_options(
        RunOptions("digits", method="dml", student="resnet8", weights=str(teacher), cache=cache, train_size=160, holdout=48)
    )
    method = method_of(options)
    stage = plan_stages(options, method, settings_of(options))[-1]
    factory = network_factory(stage, open_splits(options), {})
    given, zero, one = Run(teacher).best.network.state_dict(), factory.student(0).state_dict(), factory.student(1).state_dict()
    assert all(torch.equal(given[name], zero[name]) for name in given)
    assert not all(torch.equal(given[name], one[name]) for name in given)


def test_resume_is_exact(train: Callable[..., Run], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = {**BASE, "weights": str(teacher)}
    whole = train(**common, out=tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 3)
        train(**common)
    with pytest.raises(UserError, match="weights was"):
        train(**BASE, resume=True)
    assert_same(train(**common, resume=True).folder, whole.folder)


def test_normalisation_of_a_file(train: Callable[..., Run], tmp_path: Path) -> None:
    torch.save(trained_reference("resnet18", 1000).state_dict(), tmp_path / "w.pt")
    common = {"method": "baseline", "student": "resnet18@large", "weights": str(tmp_path / "w.pt"), "epochs": 1, "threads": 1}
    with pytest.raises(UserError, match="--channels 3"):
        train(**common)
    assert not (tmp_path / "run").exists()


def test_missing(train: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no weights"):
        train(**BASE, weights=str(tmp_path / "none.pt"))
    with pytest.raises(UserError, match="holds no finished run"):
        train(**BASE, weights=str(tmp_path))
