"""Accuracy with noise on the parameters, against an independent computation."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studygroup import randomness
from studygroup.analysis.noise import accuracy_under_noise
from studygroup.data import open_dataset
from studygroup.errors import UserError
from studygroup.runs.member import Run


@pytest.mark.parametrize("relative", [False, True])
def test_accuracy_against_a_loop(alone: Run, cache: Path, relative: bool) -> None:
    found = accuracy_under_noise(alone, [0.0, 0.1], draws=2, seed=3, relative=relative, cache=cache)
    member = alone.best
    test = open_dataset("digits", cache=cache).test
    images, labels = test.gather(np.arange(len(test)))
    inputs = member.prepare(torch.device("cpu"))(images)
    expected = []
    for draw in range(2):
        network = alone.best.network
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                noise = torch.randn(parameter.shape, generator=randomness.generator(randomness.derive_seed(3, "noise", draw), name))
                scale = math.sqrt(sum(value * value for value in parameter.flatten().tolist()) / parameter.numel()) if relative else 1.0
                parameter.add_(noise, alpha=0.1 * scale)
            expected.append(float((network(inputs).argmax(-1) == labels).float().mean()))
    assert found["best"][0] == [alone.result["selected"]["test"]] * 2, "without noise, it is the accuracy of the run"
    assert found["best"][1] == pytest.approx(expected, abs=1.5 / len(test))
    assert len(set(found["best"][1])) == 2, "the draws differ"


def test_running_statistics_and_the_saved_weights_stay(alone: Run, cache: Path) -> None:
    before = alone.files.weights("best").read_bytes()
    first = accuracy_under_noise(alone, [0.05], draws=1, cache=cache)
    assert accuracy_under_noise(alone, [0.05, 0.2], draws=2, cache=cache)["best"][0][0] == first["best"][0][0]
    assert alone.files.weights("best").read_bytes() == before


def test_all_methods_get_the_same_noise(cgl: Run, alone: Run, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal weights get equal noise, whatever run they are in: the last student of a group, and a student alone."""
    drawn: list[tuple[int, tuple[str | int, ...]]] = []
    original = randomness.generator

    def record(seed: int, *words: str | int) -> torch.Generator:
        drawn.append((seed, words))
        return original(seed, *words)

    monkeypatch.setattr(randomness, "generator", record)
    for run in (cgl, alone):
        accuracy_under_noise(run, [0.1], draws=2, cache=cache)
    assert drawn
    assert drawn[: len(drawn) // 2] == drawn[len(drawn) // 2 :]


def test_members_of_a_group(cgl: Run, cache: Path) -> None:
    found = accuracy_under_noise(cgl, [0.0], draws=1, members=["all"], cache=cache)
    assert {name: rows[0][0] for name, rows in found.items()} == {
        name: pytest.approx(value) for name, value in cgl.result["last"]["test"].items() if name != "ensemble"
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigmas": []}, "sigmas is empty"),
        ({"sigmas": [0.1, -1.0]}, "a sigma is -1; it must be a number of at least 0"),
        ({"sigmas": [math.nan]}, "a sigma is nan"),
        ({"sigmas": [math.inf]}, "a sigma is inf"),
        ({"sigmas": [0.1], "draws": 0}, "draws is 0"),
        ({"sigmas": [0.1], "batch_size": 0}, "batch_size 0"),
        ({"sigmas": [0.1], "members": ["student7"]}, "unknown member"),
        ({"sigmas": [0.1], "device": "nowhere"}, "device 'nowhere' cannot be used"),
    ],
)
def test_arguments_that_cannot_be_used(alone: Run, cache: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        accuracy_under_noise(alone, **arguments, cache=cache)


def test_data_without_a_test_set(alone: Run, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(alone.folder, folder)
    data = tmp_path / "data.npz"
    np.savez(data, images=np.zeros((60, 8, 8, 1), np.uint8), labels=np.arange(60) % 10)
    config = (folder / "config.yaml").read_text().replace("data: digits", f"data: {data}").replace("test_size: 0.2", "test_size: 0")
    (folder / "config.yaml").write_text(config)
    with pytest.raises(UserError, match="has no test set"):
        accuracy_under_noise(Run(folder), [0.1], cache=cache)
