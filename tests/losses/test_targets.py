"""Ensemble targets against loops over samples and grids over weights, and common properties."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses import targets

COVARIANCE = torch.tensor([[0.5, 0.1, 0.2], [0.1, 0.4, 0.0], [0.2, 0.0, 0.9]], dtype=torch.float64)
ALL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": targets.mean,
    "naive": targets.naive,
    "minlogit": targets.minlogit,
    "linear": targets.linear,
    "general": lambda z, y: targets.general(z, y, COVARIANCE),
}
every_target = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())


def group(seed: int = 0, networks: int = 3, count: int = 6, classes: int = 4, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(networks, count, classes, generator=generator, dtype=torch.float64) * scale
    return logits, torch.randint(classes, (count,), generator=generator)


def error(logits: list[float], label: int) -> float:
    """Cross-entropy of one sample."""
    top = max(logits)
    return top + math.log(sum(math.exp(z - top) for z in logits)) - logits[label]


def test_mean_naive_and_minlogit_against_loops() -> None:
    logits, labels = group()
    for b, label in enumerate(labels.tolist()):
        rows = logits[:, b].tolist()
        best = min(rows, key=lambda row: error(row, label))
        smallest = [min(row[c] - row[label] for row in rows) for c in range(4)]
        assert targets.naive(logits, labels)[b].tolist() == pytest.approx(best)
        assert targets.minlogit(logits, labels)[b].tolist() == pytest.approx(smallest)
        assert targets.mean(logits, labels)[b].tolist() == pytest.approx([sum(z) / 3 for z in zip(*rows, strict=True)])


def test_naive_takes_the_first_among_equals() -> None:
    logits, labels = group()
    logits = (logits * 8).round() / 8  # so that a shift is exact: it changes the logits, not the error
    same = torch.stack([logits[0], logits[1], logits[0] + 5])
    torch.testing.assert_close(targets.naive(same, labels), targets.naive(same[:2], labels))
    torch.testing.assert_close(targets.naive(same[[2, 0]], labels), same[2])


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("networks", [2, 3])
def test_linear_is_as_good_as_the_best_of_a_grid(networks: int, scale: float) -> None:
    logits, labels = group(7, networks, count=20, classes=5, scale=scale)
    steps = 200 if networks == 2 else 40
    grid = [w for w in itertools.product(range(steps + 1), repeat=networks) if sum(w) == steps]
    weights = torch.tensor(grid, dtype=torch.float64) / steps
    combined = torch.einsum("gm,mbc->gbc", weights, logits)
    errors = F.cross_entropy(combined.flatten(0, 1), labels.repeat(len(grid)), reduction="none").view(len(grid), -1)
    found = F.cross_entropy(targets.linear(logits, labels), labels, reduction="none")
    assert bool((found <= errors.amin(0) + 1e-6).all())
    # and not far below it: it is a combination, too
    assert bool((found >= errors.amin(0) - scale / steps).all())


@pytest.mark.parametrize(("scale", "bound"), [(1.0, 1e-6), (5.0, 1e-6), (20.0, 1e-6), (40.0, 1e-4), (400.0, 0.4)])
def test_linear_is_optimal(scale: float, bound: float) -> None:
    """No network's logits are in a descent direction: the gradient of a convex function bounds the distance from the minimum."""
    logits, labels = group(3, networks=5, count=50, classes=10, scale=scale)
    target = targets.linear(logits, labels)
    slope = target.softmax(-1) - F.one_hot(labels, 10)
    gap = ((target - logits) * slope).sum(-1).amax(0)  # (B,), at least CE(target) - least
    assert float(gap.max()) < bound


def test_linear_of_networks_that_agree_is_their_logits() -> None:
    logits, labels = group()
    torch.testing.assert_close(targets.linear(logits[:1].expand(4, -1, -1), labels), logits[0])
    torch.testing.assert_close(targets.linear(logits[:1], labels), logits[0])
    shifted = torch.stack([logits[0], logits[0] + 2])  # equal predictions
    torch.testing.assert_close(targets.linear(shifted, labels), logits[0] + 1)


def test_linear_is_never_worse_than_naive() -> None:
    logits, labels = group(11, networks=4, count=100, classes=6)
    best = F.cross_entropy(targets.naive(logits, labels), labels, reduction="none")
    combined = F.cross_entropy(targets.linear(logits, labels), labels, reduction="none")
    assert bool((combined <= best + 1e-7).all())
    assert float((best - combined).mean()) > 1e-2


def test_minlogit_is_never_worse_than_naive() -> None:
    logits, labels = group(11, networks=4, count=100, classes=6)
    best = F.cross_entropy(targets.naive(logits, labels), labels, reduction="none")
    smallest = F.cross_entropy(targets.minlogit(logits, labels), labels, reduction="none")
    assert bool((smallest <= best + 1e-12).all())
    assert torch.equal(targets.minlogit(logits, labels)[range(100), labels], torch.zeros(100, dtype=torch.float64))


def test_covariance_of_errors_against_a_loop() -> None:
    logits, labels = group()
    expected = [[0.0] * 3 for _ in range(3)]
    probabilities = logits.softmax(-1).tolist()
    for i, j, (b, label) in itertools.product(range(3), range(3), enumerate(labels.tolist())):
        for c in range(4):
            truth = float(c == label)
            expected[i][j] += (probabilities[i][b][c] - truth) * (probabilities[j][b][c] - truth) / 6
    torch.testing.assert_close(targets.error_covariance(logits, labels), torch.tensor(expected, dtype=torch.float64))


def test_general_against_its_formula() -> None:
    logits, labels = group()
    weights = COVARIANCE.inverse().sum(1) / COVARIANCE.inverse().sum()
    expected = sum(float(w) * z for w, z in zip(weights, logits, strict=True))
    torch.testing.assert_close(targets.general(logits, labels, COVARIANCE), expected, rtol=1e-4, atol=1e-4)
    # Uncorrelated errors: weights are in proportion to 1 / error, here 3/4 and 1/4.
    apart = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(targets.general(logits[:2], labels, apart), 0.75 * logits[0] + 0.25 * logits[1], rtol=1e-5, atol=1e-5)


def test_general_has_the_least_expected_error() -> None:
    logits, labels = group(networks=3, count=400)
    covariance = targets.error_covariance(logits, labels)
    inverse = covariance.inverse().sum(1)
    weights = inverse / inverse.sum()
    least = float(weights @ covariance @ weights)
    for k in range(3):
        assert least < float(covariance[k, k])
    torch.testing.assert_close(
        targets.general(logits, labels, covariance), torch.einsum("m,mbc->bc", weights, logits), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("covariance", [torch.zeros(3, 3), torch.full((3, 3), 0.7)])
def test_general_of_networks_with_the_same_errors_is_their_mean(covariance: Tensor) -> None:
    logits, labels = group()
    torch.testing.assert_close(targets.general(logits, labels, covariance), logits.mean(0))


@every_target
def test_targets_have_no_gradient(make: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, labels = group()
    found = make(logits.requires_grad_(), labels)
    assert not found.requires_grad
    assert found.shape == (6, 4)
    assert found.dtype == torch.float64


@every_target
def test_samples_are_independent(make: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, labels = group()
    order = [3, 0, 5, 1, 4, 2]
    torch.testing.assert_close(make(logits[:, order], labels[order]), make(logits, labels)[order])
    torch.testing.assert_close(make(logits[:, :1], labels[:1]), make(logits, labels)[:1])


@every_target
def test_the_target_of_equal_networks_is_their_logits(make: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, labels = group()
    found = make(logits[:1].expand(3, -1, -1), labels)
    torch.testing.assert_close(found.softmax(-1), logits[0].softmax(-1))


@every_target
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(make: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    logits, labels = group()
    logits = logits.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = make(logits, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, make(logits.float(), labels))


@every_target
def test_extreme_logits_are_finite(make: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = torch.tensor([[[1e4, -1e4], [0.0, 0.0]], [[-1e4, 1e4], [5.0, 5.0]], [[0.0, 0.0], [-1e4, -1e4]]])
    for labels in (torch.tensor([0, 1]), torch.tensor([1, 0])):
        assert torch.isfinite(make(logits, labels)).all()


@every_target
def test_shapes_that_do_not_fit_are_refused(make: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(UserError, match=r"\(6, 4\)"):
        make(torch.ones(6, 4), torch.zeros(6, dtype=torch.int64))
    with pytest.raises(UserError, match=r"\(3, 6, 4\), labels \(5,\)"):
        make(torch.ones(3, 6, 4), torch.zeros(5, dtype=torch.int64))


def test_a_covariance_of_other_networks_is_refused() -> None:
    logits, labels = group(networks=2)
    with pytest.raises(UserError, match=r"\(3, 3\), but there are 2 networks"):
        targets.general(logits, labels, COVARIANCE)
