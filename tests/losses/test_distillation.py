"""Comparisons of logits beside the KL: loops over samples and classes, properties, and numerical derivatives."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from studygroup import losses
from studygroup.errors import UserError
from studygroup.losses import decoupled_kl, dist, logit_mse, soft_kl, standardized_kl
from tests.losses.test_logits import random_case, row, row_pairs, softmax

LABELS = torch.tensor([2, 0, 1])
STUDENT = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0], [0.3, 0.2, -2.0]], dtype=torch.float64)
TEACHER = torch.tensor([[2.0, 1.0, 4.0], [0.0, 1.0, -1.0], [1.5, 0.5, 0.0]], dtype=torch.float64)

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "standardized_kl": standardized_kl,
    "decoupled_kl": lambda s, t: decoupled_kl(s, t, LABELS),
    "dist": dist,
    "logit_mse": logit_mse,
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def standardized(logits: list[float]) -> list[float]:
    mean, deviation = statistics.fmean(logits), statistics.stdev(logits)
    return [(z - mean) / (deviation + 1e-7) for z in logits]


def pearson(a: list[float], b: list[float]) -> float:
    a, b = [x - statistics.fmean(a) for x in a], [x - statistics.fmean(b) for x in b]
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b) + 1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
def test_standardized_against_a_loop(seed: int, temperature: float) -> None:
    student, teacher, _, _ = random_case(seed)
    each = [
        kl(softmax(standardized(z_t), temperature), softmax(standardized(z_s), temperature))
        for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    expected = sum(each) / 7
    assert float(standardized_kl(student, teacher, temperature)) == pytest.approx(expected * temperature**2, rel=1e-10)
    assert float(standardized_kl(student, teacher, temperature, scale=False)) == pytest.approx(expected, rel=1e-10)
    assert standardized_kl(student, teacher, temperature, scale=False, reduction="none").tolist() == pytest.approx(each, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (0.3, 0.0, 1.0), (0.0, 2.0, 2.5)])
def test_decoupled_against_a_loop(seed: int, alpha: float, beta: float, temperature: float) -> None:
    student, teacher, labels, _ = random_case(seed)
    each = []
    for z_s, z_t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        p, q = softmax(z_t, temperature), softmax(z_s, temperature)
        target = kl([p[y], 1 - p[y]], [q[y], 1 - q[y]])
        others = kl(*([x / (1 - own[y]) for c, x in enumerate(own) if c != y] for own in (p, q)))
        each.append(temperature**2 * (alpha * target + beta * others))
    assert float(decoupled_kl(student, teacher, labels, alpha, beta, temperature)) == pytest.approx(sum(each) / 7, rel=1e-9)
    found = decoupled_kl(student, teacher, labels, alpha, beta, temperature, reduction="none", scale=False)
    assert (found * temperature**2).tolist() == pytest.approx(each, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("beta", "gamma", "temperature"), [(2.0, 2.0, 4.0), (1.0, 0.0, 1.0), (0.0, 1.5, 2.0)])
def test_dist_against_a_loop(seed: int, beta: float, gamma: float, temperature: float) -> None:
    student, teacher, _, _ = random_case(seed)
    p, q = ([softmax(z, temperature) for z in logits.tolist()] for logits in (student, teacher))
    inter = 1 - sum(pearson(a, b) for a, b in zip(p, q, strict=True)) / 7
    intra = 1 - sum(pearson([a[c] for a in p], [b[c] for b in q]) for c in range(5)) / 5
    expected = beta * inter + gamma * intra
    assert float(dist(student, teacher, beta, gamma, temperature)) == pytest.approx(expected * temperature**2, rel=1e-10)
    assert float(dist(student, teacher, beta, gamma, temperature, scale=False)) == pytest.approx(expected, rel=1e-10)


def test_squared_error_against_a_loop() -> None:
    student, teacher, _, _ = random_case(0)
    each = []
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        shift = statistics.fmean(z_s) - statistics.fmean(z_t)
        each.append(sum((a - b - shift) ** 2 for a, b in zip(z_s, z_t, strict=True)) / 5)
    assert float(logit_mse(student, teacher)) == pytest.approx(sum(each) / 7, rel=1e-10)
    assert logit_mse(student, teacher, reduction="none").tolist() == pytest.approx(each, rel=1e-10)


def test_the_defaults_are_the_papers() -> None:
    student, teacher, labels, _ = random_case(1)
    assert torch.equal(losses.decoupled_kl(student, teacher, labels), decoupled_kl(student, teacher, labels, 1.0, 8.0, 4.0))
    assert torch.equal(losses.standardized_kl(student, teacher), standardized_kl(student, teacher, temperature=2.0))
    assert torch.equal(losses.dist(student, teacher), dist(student, teacher, beta=2.0, gamma=2.0, temperature=4.0))


# ---------------------------------------------------------------- properties


@given(row_pairs, st.floats(0.5, 8), st.integers(0, 1))
def test_the_divergence_is_the_sum_of_its_parts(rows: tuple[list[float], list[float]], temperature: float, label: int) -> None:
    """KL = TCKD + (1 - p_y) NCKD (Eq. 7 of the paper)."""
    student, teacher, labels = row(rows[0]), row(rows[1]), torch.tensor([label])
    weight = 1 - softmax(rows[1], temperature)[label]
    found = decoupled_kl(student, teacher, labels, 1.0, weight, temperature)
    assert float(found) == pytest.approx(float(soft_kl(student, teacher, temperature)), rel=1e-6, abs=1e-7)


@given(row_pairs, st.floats(0.5, 4), st.floats(-5, 5))
def test_standardised_logits_have_no_scale(rows: tuple[list[float], list[float]], factor: float, shift: float) -> None:
    student, teacher = row(rows[0]), row(rows[1])
    if min(float(student.std()), float(teacher.std())) < 1e-2:
        return  # 1e-7 in the denominator is then no longer small
    found = standardized_kl(factor * student + shift, teacher)
    assert float(found) == pytest.approx(float(standardized_kl(student, teacher)), rel=1e-3, abs=1e-6)
    assert float(standardized_kl(factor * teacher + shift, teacher)) == pytest.approx(0.0, abs=1e-6)


@given(st.integers(0, 1000), st.floats(0.5, 8))
def test_correlations_are_within_their_range(seed: int, temperature: float) -> None:
    student, teacher, _, _ = random_case(seed)
    assert -1e-6 <= float(dist(student, teacher, 1.0, 0.0, temperature, scale=False)) <= 2 + 1e-6
    assert -1e-6 <= float(dist(student, teacher, 0.0, 1.0, temperature, scale=False)) <= 2 + 1e-6


def test_probabilities_need_not_be_as_large() -> None:
    """DIST compares probabilities up to a factor: those nearer to uniform, in the same proportions, are as good."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    near = 0.5 * p + 0.5 / 3
    assert float(dist(near.log(), p.log(), temperature=1.0)) == pytest.approx(0.0, abs=1e-5)
    assert float(soft_kl(near.log(), p.log())) > 0.05


@given(row_pairs)
def test_squared_error_is_twice_the_limit_of_the_divergence(rows: tuple[list[float], list[float]]) -> None:
    student, teacher = row(rows[0]), row(rows[1])
    assert float(logit_mse(student, teacher)) / 2 == pytest.approx(float(soft_kl(student, teacher, 1e4)), rel=2e-2, abs=1e-5)


@every_loss
def test_equal_logits_are_the_minimum(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert float(loss(STUDENT, TEACHER)) > 1e-3
    same = (TEACHER + 3.0).requires_grad_()
    found = loss(same, TEACHER)
    (gradient,) = torch.autograd.grad(found, same)
    assert float(found.detach()) == pytest.approx(0.0, abs=1e-4)  # not quite 0: dist has an epsilon
    assert float(gradient.abs().max()) < 1e-4


@every_loss
def test_derivatives_agree_with_finite_differences(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    student, teacher = STUDENT.to(dtype) * 3.7, TEACHER.to(dtype) * 3.7
    found = loss(student, teacher)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(student.float(), teacher.float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found, loss(student, teacher))
    assert loss(STUDENT, TEACHER).dtype == torch.float64


@every_loss
@pytest.mark.parametrize("kind", ["constant", "confident", "both_constant"])
def test_degenerate_logits_have_finite_losses_and_gradients(loss: Callable[[Tensor, Tensor], Tensor], kind: str) -> None:
    student = (torch.full((3, 3), 200.0) * torch.eye(3).flip(0) if kind == "confident" else torch.ones(3, 3)).requires_grad_()
    teacher = 200.0 * torch.eye(3) if kind == "confident" else torch.ones(3, 3) if kind == "both_constant" else TEACHER.float()
    found = loss(student, teacher)
    (gradient,) = torch.autograd.grad(found, student)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()


def test_a_single_sample_has_no_relations_between_samples() -> None:
    student = STUDENT[:1].clone().requires_grad_()
    found = dist(student, TEACHER[:1], 0.0, 1.0, 1.0)
    (gradient,) = torch.autograd.grad(found, student)
    assert float(found.detach()) == pytest.approx(1.0)
    assert float(gradient.abs().max()) == 0.0


def test_two_classes_leave_one_other() -> None:
    student, teacher = STUDENT[:, :2], TEACHER[:, :2]
    labels = torch.tensor([0, 1, 1])
    assert float(decoupled_kl(student, teacher, labels, 0.0, 8.0)) == 0.0
    torch.testing.assert_close(decoupled_kl(student, teacher, labels, 1.0, 8.0, 3.0), soft_kl(student, teacher, 3.0))


# ---------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize("call", [
    lambda: standardized_kl(STUDENT, TEACHER[:, :2]),
    lambda: decoupled_kl(STUDENT, TEACHER[:, :2], LABELS),
    lambda: dist(STUDENT, TEACHER[:, :2]),
    lambda: logit_mse(STUDENT, TEACHER[:, :2]),
])  # fmt: skip
def test_different_shapes_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=r"\(3, 3\).*\(3, 2\)"):
        call()


@pytest.mark.parametrize("call", [
    lambda: standardized_kl(STUDENT, TEACHER, 0.0),
    lambda: decoupled_kl(STUDENT, TEACHER, LABELS, temperature=0.0),
    lambda: dist(STUDENT, TEACHER, temperature=0.0),
])  # fmt: skip
def test_a_temperature_that_is_not_positive_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=r"temperature is 0\.0"):
        call()


def test_labels_must_fit() -> None:
    with pytest.raises(UserError, match=r"labels \(2,\)"):
        decoupled_kl(STUDENT, TEACHER, LABELS[:2])
    with pytest.raises(UserError, match=r"at least 2 classes"):
        decoupled_kl(STUDENT[:, :1], TEACHER[:, :1], torch.zeros(3, dtype=torch.int64))


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(UserError, match="'sum'"):
        standardized_kl(STUDENT, TEACHER, reduction="sum")  # type: ignore[arg-type]
