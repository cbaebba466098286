"""The warning of runs that lie where a group has lost to training alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup.methods import METHODS
from studygroup.pipeline.regime import BEHIND, PLANES, Plane, warning


def test_a_plane_by_hand() -> None:
    plane = Plane(-2.0, -1.0, 0.5)
    assert plane.gain(4000, 8000) == pytest.approx(-2.0 - 1.0 + 0.5 * 2)
    assert plane.times(4000, 8000) == pytest.approx(2 ** (2 / 0.5)), "each doubling brings half a point"


def test_few_epochs_on_many_images_are_warned_of_and_many_on_few_are_not() -> None:
    line = warning("cgl", 8000, 16)
    assert line is not None
    assert line.startswith("8,000 images, 16 epochs: where this was measured, cgl was behind training alone at the same compute")
    assert "times as many updates; try --method baseline, or let `studygroup advise` find out" in line
    assert warning("cgl", 500, 750) is None
    assert warning("baseline", 8000, 1) is None, "nothing is behind itself"


@pytest.mark.parametrize("method", PLANES)
def test_with_the_wanted_updates_nothing_is_lost(method: str) -> None:
    assert method in METHODS
    plane = PLANES[method]
    assert plane.by_size < 0 < plane.by_updates, "more images want more updates"
    for samples in (500, 2000, 8000):
        few = 1000.0
        assert plane.gain(samples, few * plane.times(samples, few)) == pytest.approx(0)
    assert BEHIND < 0


def test_train_says_so_once_and_on_images_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small: dict[str, Any] = {"preset": "none", "epochs": 1, "train_size": 96, "holdout": 48, "batch_size": 32, "progress": False}
    small["cache"] = tmp_path / "cache"
    studygroup.train("digits", student="resnet8", method="cgl", out=tmp_path / "group", **small)
    said = [record.getMessage() for record in caplog.records if "behind training alone" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("note: 96 images, 1 epoch:")
    caplog.clear()
    studygroup.train("digits", student="resnet8", method="baseline", out=tmp_path / "alone", **small)
    table = tmp_path / "texts.csv"
    table.write_text("text,label\n" + "".join(f"{word} {number},{word}\n" for number in range(40) for word in ("yes", "no")))
    texts = {**small, "train_size": 40, "holdout": 10}
    tiny = "transformer@embedding=32,hidden=32,depth=1,heads=2"
    studygroup.train(str(table), student=tiny, method="dml", out=tmp_path / "texts", **texts)
    assert not [record for record in caplog.records if "behind training alone" in record.getMessage()]
