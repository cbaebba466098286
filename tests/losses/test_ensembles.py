"""Ensembles of several networks: loops over samples and classes, ties, and what each is the best of."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from studygroup.losses import (
    cross_entropy,
    error_covariance,
    general_ensemble,
    linear_ensemble,
    mean_ensemble,
    minlogit_ensemble,
    naive_ensemble,
    per_sample_cross_entropy,
)

ENSEMBLES = {"mean": mean_ensemble, "naive": naive_ensemble, "minlogit": minlogit_ensemble, "linear": linear_ensemble}
every_ensemble = pytest.mark.parametrize("name", ENSEMBLES)
cases = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(2, 7), st.floats(0.1, 8), st.integers(0, 999))


def case(networks: int, samples: int, classes: int, scale: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(networks, samples, classes, generator=generator, dtype=torch.float64) * scale
    return logits, torch.randint(classes, (samples,), generator=generator)


def errors(logits: Tensor, labels: Tensor) -> list[list[float]]:
    """Cross-entropy of every network on every sample, counted out."""
    return [
        [math.log(sum(math.exp(z) for z in row)) - row[y] for row, y in zip(network, labels.tolist(), strict=True)]
        for network in logits.tolist()
    ]


def test_against_loops() -> None:
    logits, labels = case(3, 6, 5)
    rows, nats = logits.tolist(), errors(logits, labels)
    mean, naive, smallest = mean_ensemble(logits, labels), naive_ensemble(logits, labels), minlogit_ensemble(logits, labels)
    best = [min((nats[i][b], i) for i in range(3))[1] for b in range(6)]
    assert len(set(best)) > 1, "not one network is best everywhere"
    for b, y in enumerate(labels.tolist()):
        assert naive[b].tolist() == rows[best[b]][b]
        for c in range(5):
            assert float(mean[b, c]) == pytest.approx(sum(rows[i][b][c] for i in range(3)) / 3)
            assert float(smallest[b, c]) == min(rows[i][b][c] - rows[i][b][y] for i in range(3))


def test_ties_go_to_the_lower_number() -> None:
    logits = torch.randint(-3, 4, (8, 4), generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(8) % 4
    tied = torch.stack([logits, logits + 4])
    assert torch.equal(per_sample_cross_entropy(tied[0], labels), per_sample_cross_entropy(tied[1], labels))
    assert torch.equal(naive_ensemble(tied, labels), tied[0])
    assert torch.equal(naive_ensemble(tied.flip(0), labels), tied[1])


@given(cases)
def test_minlogit_is_at_least_as_good_as_the_best_network(drawn: tuple[int, int, int, float, int]) -> None:
    logits, labels = case(*drawn)
    best = torch.stack([per_sample_cross_entropy(z, labels) for z in logits]).amin(0)
    found = minlogit_ensemble(logits, labels)
    assert (per_sample_cross_entropy(found, labels) <= best + 1e-9).all()
    assert (found.gather(1, labels[:, None]) == 0).all()


@given(cases)
def test_linear_is_best_among_convex_combinations(drawn: tuple[int, int, int, float, int]) -> None:
    """At a minimum of a convex function no network's direction is worth taking; the gap to it bounds the error."""
    logits, labels = case(*drawn)
    found = linear_ensemble(logits, labels)
    distances = logits - logits.gather(-1, labels.expand(len(logits), -1)[..., None])
    slopes = (distances * found.softmax(-1)).sum(-1)  # (m, B)
    gap = (found * found.softmax(-1)).sum(-1) - slopes.amin(0)
    assert (gap <= 1e-3 * (1 + distances.abs().amax((0, 2)))).all()
    best = torch.stack([per_sample_cross_entropy(z, labels) for z in logits]).amin(0)
    assert (per_sample_cross_entropy(found, labels) <= best + 1e-6 * drawn[3]).all()


@pytest.mark.parametrize("networks", [2, 3])
def test_linear_against_a_grid(networks: int) -> None:
    logits, labels = case(networks, 5, 4, 3.0, seed=5)
    steps = 60
    grid = [w for w in itertools.product(range(steps + 1), repeat=networks) if sum(w) == steps]
    weights = torch.tensor(grid, dtype=torch.float64) / steps
    tried = torch.einsum("gm,mbc->gbc", weights, logits)
    best = torch.stack([per_sample_cross_entropy(z, labels) for z in tried]).amin(0)
    found = per_sample_cross_entropy(linear_ensemble(logits, labels), labels)
    assert (found <= best + 1e-9).all()
    assert (found >= best - 0.01).all(), "no better than a convex combination can be"
    alone = torch.stack([per_sample_cross_entropy(z, labels) for z in logits]).amin(0)
    assert (found < alone - 0.01).any(), "a mixture is better than either somewhere"


def test_linear_keeps_to_the_better_of_two_when_mixing_does_not_pay() -> None:
    labels = torch.tensor([0, 0])
    right, wrong = torch.tensor([[9.0, 0, 0], [9.0, 0, 0]]), torch.tensor([[0.0, 4, 1], [0.0, 4, 1]])
    torch.testing.assert_close(linear_ensemble(torch.stack([wrong, right]), labels), right - 9)


@every_ensemble
def test_one_network_and_equal_networks_are_their_own_ensemble(name: str) -> None:
    logits, labels = case(1, 6, 5)
    for networks in (1, 3):
        found = ENSEMBLES[name](logits.expand(networks, -1, -1), labels)
        torch.testing.assert_close(found.softmax(-1), logits[0].softmax(-1))


@every_ensemble
@settings(max_examples=15)
@given(drawn=cases)
def test_samples_do_not_matter_to_each_other(name: str, drawn: tuple[int, int, int, float, int]) -> None:
    logits, labels = case(*drawn)
    whole = ENSEMBLES[name](logits, labels)
    parts = [ENSEMBLES[name](logits[:, b : b + 1], labels[b : b + 1]) for b in range(len(labels))]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-4, atol=1e-5)


@every_ensemble
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, labels = case(3, 6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ENSEMBLES[name](logits.to(dtype), labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, ENSEMBLES[name](logits.to(dtype).float(), labels))


# ---------------------------------------------------------------- one weighting for all samples


def test_error_covariance_against_a_loop() -> None:
    logits, labels = case(3, 4, 5)
    found = error_covariance(logits, labels)
    probabilities = logits.softmax(-1).tolist()
    for i, j in itertools.product(range(3), repeat=2):
        total = 0.0
        for b, y in enumerate(labels.tolist()):
            for c in range(5):
                total += (probabilities[i][b][c] - (c == y)) * (probabilities[j][b][c] - (c == y))
        assert float(found[i, j]) == pytest.approx(total / 4)
    assert (torch.linalg.eigvalsh(found) >= -1e-12).all()


def weights_of(covariance: Tensor) -> list[float]:
    """The weights that an ensemble of unit vectors shows."""
    count = len(covariance)
    return general_ensemble(torch.eye(count, dtype=torch.float64)[:, None], torch.zeros(1, dtype=torch.int64), covariance)[0].tolist()


def test_general_weights() -> None:
    assert weights_of(torch.eye(4)) == pytest.approx([0.25] * 4)
    assert weights_of(torch.diag(torch.tensor([1.0, 2.0, 4.0]))) == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=1e-4)
    assert weights_of(torch.ones(3, 3)) == pytest.approx([1 / 3] * 3), "networks that err alike"
    assert weights_of(torch.zeros(2, 2)) == pytest.approx([0.5, 0.5]), "networks that do not err"
    assert weights_of(torch.tensor([[1.0, 1.5], [1.5, 4.0]])) == pytest.approx([1.25, -0.25], rel=1e-4), "a weight may be negative"


@given(st.integers(2, 5), st.integers(0, 999))
def test_general_weights_have_the_least_squared_error(networks: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(networks, 2 * networks, generator=generator, dtype=torch.float64)
    covariance = root @ root.T / 10
    weights = torch.tensor(weights_of(covariance), dtype=torch.float64)
    assert float(weights.sum()) == pytest.approx(1.0)
    least = weights @ covariance @ weights
    for _ in range(20):
        change = torch.randn(networks, generator=generator, dtype=torch.float64)
        other = weights + 0.1 * (change - change.mean())
        assert other @ covariance @ other >= least - 1e-6 * abs(least)


def test_general_ensemble_weighs_logits() -> None:
    logits, labels = case(2, 3, 4)
    found = general_ensemble(logits, labels, torch.diag(torch.tensor([1.0, 3.0])))
    torch.testing.assert_close(found, 0.75 * logits[0] + 0.25 * logits[1], rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = general_ensemble(logits.bfloat16(), labels, torch.eye(2))
        covariance = error_covariance(logits.bfloat16(), labels)
    assert half.dtype == covariance.dtype == torch.float32
    torch.testing.assert_close(half, logits.bfloat16().float().mean(0))
    torch.testing.assert_close(covariance, error_covariance(logits.bfloat16().float(), labels))


def test_the_mean_is_as_good_as_its_networks_are_on_average() -> None:
    """Cross-entropy is convex in the logits: the mean's is at most the mean of the networks'."""
    logits, labels = case(4, 50, 6)
    assert cross_entropy(mean_ensemble(logits, labels), labels) <= sum(cross_entropy(z, labels) for z in logits) / 4
