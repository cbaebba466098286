"""The border of the map: a plane over logarithms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from studygroup.reporting.study_map import Place, border, differences

PLACES: list[Place] = [(2000.0, 500.0), (8000.0, 500.0), (2000.0, 4000.0), (8000.0, 4000.0)]


def plane(place: Place, height: float) -> float:
    return height + 1.5 * math.log(place[0]) - 0.5 * math.log(place[1])


def test_a_plane_is_found_again() -> None:
    by_place = {place: {0: plane(place, 1.0), 1: plane(place, 3.0)} for place in PLACES}
    fitted = border(by_place, (2000.0, 8000.0), (500.0, 4000.0))
    assert fitted is not None
    xs, ys, mean, low, high = fitted
    expected = np.array([[plane((x, y), 2.0) for x in xs] for y in ys])
    np.testing.assert_allclose(mean, expected, atol=1e-9)
    np.testing.assert_allclose((high - low) / 2, 12.7062, rtol=1e-4)  # t of one degree of freedom, standard error 1


@pytest.mark.parametrize(
    "by_place",
    [
        {},
        {place: {0: 1.0} for place in PLACES},
        {place: {0: 1.0, 1: 2.0} for place in PLACES[:2]},
        {**{place: {0: 1.0, 1: 2.0} for place in PLACES[:3]}, PLACES[3]: {0: 1.0}},
    ],
    ids=["nothing", "one seed", "places on a line", "a run that is missing"],
)
def test_there_is_no_border_without_enough_runs(by_place: dict[Place, dict[int, float]]) -> None:
    assert border(by_place, (2000.0, 8000.0), (500.0, 4000.0)) is None


def test_differences_are_by_seed() -> None:
    cells = [
        {"row": "Alone", "x": 1.0, "y": 2.0, "by_seed": {0: 80.0, 1: 81.0}},
        {"row": "CGL", "x": 1.0, "y": 2.0, "by_seed": {0: 82.0, 2: 90.0}},
        {"row": "DML", "x": 1.0, "y": 2.0, "by_seed": {0: 1.0}},
    ]
    assert differences(cells) == {(1.0, 2.0): {0: 2.0}}
