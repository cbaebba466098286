"""Augmentation from a run's options to its data."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studygroup.errors import UserError
from studygroup.options import RunOptions
from studygroup.pipeline.describe import describe_run
from studygroup.pipeline.setup import open_splits, run_options


def folder(root: Path, names: tuple[str, ...], channels: int = 1) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        for k in range(10):
            shape = (8, 8) if channels == 1 else (8, 8, 3)
            Image.fromarray(np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8)).save(root / name / f"{k}.png")
    return root


def options(data: Path | str, augment: str) -> RunOptions:
    return RunOptions(data=data, augment=augment, progress=False, student="resnet8")


@pytest.mark.parametrize(
    ("names", "augment", "resolved", "said"),
    [
        (("3", "8"), "auto", "crop", "augmentation: crop; no flips, as mirrored digits"),
        (("3", "8"), "strong", "crop+trivial+erase+mixup+cutmix", "no flips"),
        (("cat", "dog"), "auto", "crop+flip", "augmentation: crop+flip; mirrored images count as the same class"),
        (("3", "8"), "flip,crop", "crop+flip", None),
        (("cat", "dog"), "none", "none", None),
    ],
)
def test_what_presets_become_and_what_is_said(
    names: tuple[str, ...], augment: str, resolved: str, said: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "studygroup"):
        given = options(folder(tmp_path / "data", names), augment)
        splits = open_splits(given)
        assert splits.augment == resolved
        describe_run(run_options(replace(given, cache=tmp_path / "cache", preset="none")), splits)
    found = [message for message in caplog.messages if message.startswith("augmentation:")]
    assert len(found) == 1
    assert found[0] == f"augmentation: {resolved}" if said is None else said in found[0]


def test_an_unknown_augmentation_is_said_before_the_data_is_looked_for() -> None:
    with pytest.raises(UserError, match=r"unknown augmentation 'cutmixx'; did you mean cutmix\?"):
        open_splits(options("/no/such/folder", "cutmixx"))


def test_color_of_a_grey_folder_is_refused_and_of_a_colourful_one_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="augment has color, but the images are grey"):
        open_splits(options(folder(tmp_path / "grey", ("a cat", "a dog")), "crop,color"))
    assert open_splits(options(folder(tmp_path / "colour", ("a cat", "a dog"), 3), "crop,color")).augment == "crop+color"
