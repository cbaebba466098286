"""Noise, ties and winners by hand; what curves show."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import scipy.stats

from studygroup.advice.judgement import Scored, better_half, choose, gains, interval, read_curves, standard_error, tied, wilson
from studygroup.runs.reader import read_run
from tests.run_folders import write_run


def scored(name: str, *holdout: float, samples: int = 10_000, inference: float = 1.0, training: float = 1.0) -> Scored:
    return Scored(name, dict(enumerate(holdout)), samples, inference, training)


def test_the_standard_error_weights_seeds_and_samples() -> None:
    one, other = scored("a", 0.91, 0.93, 0.92, samples=400), scored("b", 0.90, 0.90, 0.90, samples=400)
    sample = 0.0001  # of 0.01, 0.03, 0.02
    binomial = (0.08 + 0.10) / 400
    assert standard_error(one, other) == pytest.approx(math.sqrt((binomial + 2 * sample) / 3 / 3))
    alone = scored("a", 0.92, samples=400), scored("b", 0.90, samples=400)
    assert standard_error(*alone) == pytest.approx(math.sqrt(binomial))


def test_the_interval_is_of_students_t_and_never_empty() -> None:
    one, other = scored("a", 0.92, 0.92, 0.92, samples=400), scored("b", 0.90, 0.90, 0.90, samples=400)
    mean, low, high = interval(one, other)
    assert mean == pytest.approx(0.02)
    assert high - mean == pytest.approx(mean - low) == pytest.approx(scipy.stats.t.ppf(0.975, 3) * standard_error(one, other))
    assert low < mean


def test_only_common_seeds_are_compared() -> None:
    one, other = Scored("a", {0: 0.9, 2: 0.8}, 100, 1, 1), Scored("b", {1: 0.1, 2: 0.7}, 100, 1, 1)
    assert tied(other, one) is False
    assert gains(one, other) is (standard_error(one, other) < 0.1)


def test_the_best_wins_unless_a_cheaper_one_is_tied() -> None:
    best, close, far = scored("best", 0.950, 0.952, training=4), scored("close", 0.949, 0.951), scored("far", 0.940, 0.944)
    assert choose([best, close, far]).name == "close"
    assert choose([best, far]).name == "best"
    larger = scored("larger", 0.9505, 0.9520, inference=2, training=1)
    assert choose([larger, best]).name == "best", "a prediction counts more than the training"
    noisy = scored("noisy", 0.90, samples=50), scored("cheap", 0.88, samples=50, training=0.5)
    assert choose(noisy).name == "noisy", "two points are no tie, however large the noise"


def test_of_tied_ones_the_student_alone_wins_whatever_rounding_makes_of_the_costs() -> None:
    alone = Scored("alone", {0: 0.95, 1: 0.95}, 1000, 1.0, 466.0, alone=True)
    group = Scored("dml", {0: 0.951, 1: 0.951}, 1000, 1.0, 461.0)
    assert choose([group, alone]).name == "alone"
    assert choose([replace(group, inference=0.5), alone]).name == "dml", "a cheaper prediction counts more"
    assert choose([replace(group, holdout={0: 0.96, 1: 0.96}), alone]).name == "dml", "a point is no tie"


def test_a_difference_below_the_tie_but_above_the_noise_counts() -> None:
    one, other = scored("a", 0.952, samples=10**7), scored("b", 0.950, samples=10**7, training=0.5)
    assert standard_error(one, other) < 0.002
    assert choose([one, other]).name == "a"


def test_equal_ones_are_ranked_by_cost() -> None:
    found = better_half([scored("dear", 0.9, inference=3), scored("cheap", 0.9), scored("best", 0.95, training=9)], 2)
    assert found == ["best", "cheap"]


def test_the_interval_of_an_accuracy() -> None:
    low, high = wilson(0.9, 300)
    found = scipy.stats.binomtest(270, 300).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((found.low, found.high))
    assert wilson(1.0, 20)[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("training", "holdout", "finished", "verdict"),
    [
        (0.5, [0.9, 0.6, 0.55], True, "fitted"),
        (0.5, [0.9, 0.6, 0.55], False, "under-fitted"),
        (0.1, [0.9, 0.6, 0.55], True, "over-fitting"),
        (0.5, [0.9, 0.4, 0.55], True, "over-fitting"),
    ],
)
def test_curves(tmp_path: Path, training: float, holdout: list[float], finished: bool, verdict: str) -> None:
    folder = write_run(tmp_path / "run", method="baseline", epochs=3, students=1)
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, loss in zip(lines, holdout, strict=True):
        line |= {"losses": {"student0/cross_entropy": training}, "holdout_cross_entropy": {"student0": loss}}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_curves([read_run(folder)], finished=finished)
    assert found.verdict == verdict
    assert (found.training_loss, found.holdout_loss, found.lowest_holdout_loss) == (training, holdout[-1], min(holdout))
