"""The picture of an advice: where points and labels stand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studygroup.reporting.advice_plot import Heights, draw_advice, spread
from tests.reporting.test_advice import advice, row


@given(st.lists(st.floats(0, 500), min_size=1, max_size=40))
def test_labels_stay_in_order_and_apart(wanted: list[float]) -> None:
    wanted = sorted(wanted, reverse=True)
    heights = spread(wanted, 15.0, 0.0, 500.0)
    assert len(heights) == len(wanted)
    assert all(-1e-6 <= height <= 500 + 1e-6 for height in heights)
    room = min(15.0, 500 / len(wanted))
    assert all(above - below >= room - 1e-6 for above, below in pairwise(heights))


def test_labels_with_room_stay_where_they_are_wanted() -> None:
    assert spread([90.0, 60.0, 10.0], 15.0, 0.0, 100.0) == [90.0, 60.0, 10.0]
    assert spread([50.0, 50.0], 15.0, 0.0, 100.0) == [50.0, 35.0]
    assert spread([3.0, 2.0], 15.0, 0.0, 100.0) == [15.0, 0.0]


def scored(*values: float) -> list[dict[str, Any]]:
    return [row(f"r{number}", "group", value / 100, holdout_std=0.0) for number, value in enumerate(values)]


def test_one_bad_candidate_does_not_squeeze_the_others() -> None:
    heights = Heights.of(scored(99.5, 99.0, 99.0, 98.5, 60.0))
    assert heights.lowest == pytest.approx(98.5)
    assert heights(99.0) == 99.0
    assert 98.0 < heights(60.0) == heights.edge < 98.5
    assert heights.text("orc", 60.0) == "↓ orc  60.0"
    assert heights.text("dml", 99.0) == "dml  99.0"


@pytest.mark.parametrize("values", [(50.0,), (70.0, 70.0), (10.0, 95.0)])
def test_few_candidates(values: tuple[float, ...]) -> None:
    heights = Heights.of(scored(*values))
    assert heights(max(values)) == max(values)
    assert heights.edge <= heights.lowest


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    others = [
        row(f"candidate-{number}", kind, 0.9 - 0.001 * number) for number, kind in enumerate(("group", "teacher", "regularisation") * 4)
    ]
    draw_advice(
        advice(row("a very long name of a candidate, really", "larger", 0.95), *others, row("bad", "teacher", 0.2)), tmp_path / "a.png"
    )
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1440, 624)
        assert len(np.unique(np.asarray(image.convert("L")))) > 50
