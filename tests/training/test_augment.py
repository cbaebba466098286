"""Augmentation from a run's options to its data."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studygroup.data import Flips
from studygroup.errors import UserError
from studygroup.options import RunOptions
from studygroup.pipeline.describe import describe_run
from studygroup.pipeline.setup import open_splits, run_options
from studygroup.pipeline.train import with_recorded_flips
from studygroup.sweep.comparison import with_flips
from studygroup.sweep.variants import Variant


def folder(root: Path, names: tuple[str, ...], channels: int = 1) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        for k in range(10):
            shape = (8, 8) if channels == 1 else (8, 8, 3)
            Image.fromarray(np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8)).save(root / name / f"{k}.png")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYGROUP_CACHE", str(tmp_path / "cache"))


def options(data: Path | str, augment: str) -> RunOptions:
    return RunOptions(data=data, augment=augment, progress=False, student="resnet8")


@pytest.mark.parametrize(
    ("names", "augment", "resolved", "said"),
    [
        (("3", "8"), "auto", "crop", "; no flips, as the classes are named like digits"),
        (("3", "8"), "auto", "crop", " (if they are of the same class: --augment crop+flip)"),
        (("3", "8"), "strong", "crop+trivial+erase+mixup+cutmix", ": --augment crop+flip+trivial+erase+mixup+cutmix)"),
        (("cat", "dog"), "auto", "crop+flip", "; mirrored images count as the same class, which 14 training images are too few to test"),
        (("cat", "dog"), "auto", "crop+flip", " (if not: --augment crop)"),
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
        found = describe_run(run_options(replace(given, cache=tmp_path / "cache", preset="none")), splits)
    assert ("flips" in found) == (said is not None)
    (line,) = [message for message in caplog.messages if message.startswith("augmentation:")]
    assert line == f"augmentation: {resolved}" if said is None else line.startswith(f"augmentation: {resolved};") and said in line


def test_an_unknown_augmentation_is_said_before_the_data_is_looked_for() -> None:
    with pytest.raises(UserError, match=r"unknown augmentation 'cutmixx'; did you mean cutmix\?"):
        open_splits(options("/no/such/folder", "cutmixx"))


def test_color_of_a_grey_folder_is_refused_and_of_a_colourful_one_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="augment has color, but the images are grey"):
        open_splits(options(folder(tmp_path / "grey", ("a cat", "a dog")), "crop,color"))
    assert open_splits(options(folder(tmp_path / "colour", ("a cat", "a dog"), 3), "crop,color")).augment == "crop+color"


def test_a_resumed_run_keeps_its_flips(tmp_path: Path) -> None:
    splits = open_splits(options(folder(tmp_path / "data", ("cat", "dog")), "medium"))
    assert splits.augment == "crop+flip+trivial+erase"
    assert with_recorded_flips(splits, "medium", splits.augment) is splits
    begun = with_recorded_flips(splits, "medium", "crop+trivial+erase")
    assert begun.augment == "crop+trivial+erase"
    assert begun.flips == Flips(False, "as when the run began")
    assert with_recorded_flips(splits, "medium", "crop") is splits, "another augmentation is left to the check of the whole run"


def test_all_runs_of_a_comparison_are_flipped_alike(tmp_path: Path) -> None:
    given = options(folder(tmp_path / "data", ("cat", "dog")), "strong")
    splits = open_splits(given)
    assert with_flips(Variant("a", given), splits).options.augment == splits.augment
    unflipped = replace(splits, flips=Flips(False, ""))
    assert with_flips(Variant("a", given), unflipped).options.augment == "crop+trivial+erase+mixup+cutmix"
    own = Variant("b", replace(given, augment="crop,flip"))
    assert with_flips(own, unflipped) is own
