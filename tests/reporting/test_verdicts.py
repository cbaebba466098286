"""Verdicts, against numbers computed by hand: t for two degrees of freedom is sqrt(2 / (p (2 - p)) - 2), p the two-sided probability."""

from __future__ import annotations

import math

import pytest

from studygroup.reporting.verdicts import Evidence, joint, of_differences, of_interval

HELD = {0: 2.0, 1: 2.5, 2: 3.0}  # mean 2.5, standard deviation .5, standard error .288675, t 4.302653: 2.5 ± 1.242069


def test_a_statement_holds_if_its_interval_is_above_zero() -> None:
    tested = of_differences("a", HELD)
    assert (tested.mean, tested.verdict, tested.reason) == (2.5, "holds", "")
    assert [tested.low, tested.high] == pytest.approx([1.257931, 3.742069], abs=1e-5)


def test_it_is_opposite_if_its_interval_is_below_zero() -> None:
    tested = of_differences("a", {seed: -value for seed, value in HELD.items()})
    assert tested.verdict == "opposite"
    assert tested.high == pytest.approx(-1.257931, abs=1e-5)


def test_it_is_undecided_if_its_interval_includes_zero() -> None:
    tested = of_differences("a", {0: 1.0, 1: 2.0, 2: 3.0})  # 2 ± 2.484138
    assert (tested.verdict, tested.reason) == ("undecided", "")
    assert [tested.low, tested.high] == pytest.approx([-0.484138, 4.484138], abs=1e-5)


@pytest.mark.parametrize(
    ("by_seed", "missing", "reason"),
    [
        ({0: 1.0}, [], "one seed has no interval; run more --seeds"),
        ({}, [], "no seed has all of its runs"),
        ({}, ["CGL, accuracy"], "there is no run of CGL, accuracy"),
        ({}, ["a", "b", "c", "d"], "there is no run of a, b, c, ..."),
    ],
)
def test_without_an_interval_it_is_undecided_and_says_why(by_seed: dict[int, float], missing: list[str], reason: str) -> None:
    tested = of_differences("a", by_seed, missing=missing)
    assert (tested.verdict, tested.reason, tested.low) == ("undecided", reason, None)


def test_values_that_are_all_the_same_decide_by_their_sign() -> None:
    assert of_differences("a", {0: 0.25, 1: 0.25}).verdict == "holds"
    assert of_differences("a", {0: 0.0, 1: 0.0}).verdict == "undecided"


def test_an_interval_from_elsewhere() -> None:
    assert of_interval("rank", 0.8, 0.2, 0.96).verdict == "holds"
    assert of_interval("rank", -0.8, -0.96, -0.2).verdict == "opposite"
    few = of_interval("rank", None, None, None)
    assert (few.verdict, few.reason) == ("undecided", "there are too few values")


def held() -> Evidence:
    return of_differences("a", HELD)


def against() -> Evidence:
    return of_differences("b", {seed: -value for seed, value in HELD.items()})


def open_one() -> Evidence:
    return of_differences("c", {0: 1.0, 1: 2.0, 2: 3.0})


def test_a_claim_holds_if_all_of_it_does() -> None:
    assert joint([held(), held()]) == ("holds", "")
    assert joint([held(), open_one()]) == ("undecided", "")
    assert joint([held(), of_differences("d", {0: 1.0})]) == ("undecided", "one seed has no interval; run more --seeds")


def test_a_claim_is_opposite_if_one_of_its_statements_is_by_the_wider_interval() -> None:
    reach = {m: math.sqrt(2 / (0.05 / m * (2 - 0.05 / m)) - 2) * 0.5 / math.sqrt(3) for m in (3, 4)}
    assert list(reach.values()) == pytest.approx([2.208, 2.558], abs=1e-3)  # around 2.5
    assert joint([against()])[0] == "opposite"
    assert joint([against(), held(), held()])[0] == "opposite"
    assert joint([against(), held(), held(), held()])[0] == "undecided", "one of four may be below by chance"


def test_a_claim_without_statements_is_undecided() -> None:
    assert joint([]) == ("undecided", "nothing of it is run at this scale")
