"""Planning: runs on several processes, the pace that finished runs show, and the largest number that fits."""

from __future__ import annotations

import pytest

from studygroup.advice.plan import Pace, PlannedRun, largest, makespan, rung_sizes
from studygroup.networks.sizes import larger_network


def test_runs_start_in_order_and_after_their_teachers() -> None:
    assert makespan([PlannedRun(name, seconds) for name, seconds in (("a", 3), ("b", 1), ("c", 1), ("d", 4))], 2) == 6
    assert makespan([PlannedRun("teacher", 5), PlannedRun("pupil", 2, "teacher"), PlannedRun("alone", 4)], 2) == 7
    assert makespan([PlannedRun("pupil", 2, "finished earlier")], 1) == 2
    assert makespan([], 2) == 0


@pytest.mark.parametrize("most", [0, 1, 7, 100])
@pytest.mark.parametrize("limit", [0, 1, 6, 99, 1000])
def test_the_largest_number_that_fits(most: int, limit: int) -> None:
    assert largest(lambda n: n <= limit, most) == min(most, limit)


def test_the_pace_is_learned_from_finished_runs() -> None:
    found = Pace().adjusted([(10.0, 27.0), (20.0, 47.0), (40.0, 87.0)], around=2.0)
    assert (found.overhead, found.factor, found.around) == pytest.approx((7.0, 2.0, 2.0))
    same = Pace(5.0, 1.5, 2.0).adjusted([(10.0, 21.0), (10.0, 23.0)], around=2.0)
    assert (same.overhead, same.factor) == pytest.approx((7.0, 1.5)), "runs of one length show no slope"
    assert Pace().adjusted([], around=1.0) == Pace()
    assert found.wall([PlannedRun("a", 10.0), PlannedRun("b", 10.0)], 1) == pytest.approx(2 + 2 * 27)


def test_half_of_a_rung_goes_on() -> None:
    assert rung_sizes(10, 3) == [10, 5, 3]
    assert rung_sizes(1, 3) == [1, 1, 1]


def test_the_next_larger_network() -> None:
    assert larger_network("resnet8") == "resnet14"
    assert larger_network("resnet18@large") == "resnet34@large"
    assert larger_network("transformer@depth=2,heads=8") == "transformer@depth=4,heads=8"
    assert larger_network("resnet110") is None
    assert larger_network("mine:network") is None
