"""Losses on logits: published values, loops over samples and classes, properties, and numerical derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses import cross_entropy, mixed_cross_entropy, per_sample_cross_entropy, soft_cross_entropy, soft_kl

STUDENT = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], dtype=torch.float64)
TEACHER = torch.tensor([[2.0, 1.0, 4.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
LABELS = torch.tensor([2, 0])

# Pairs of rows of logits, 2 to 6 classes; values that softmax keeps away from exact 0.
row_pairs = st.integers(2, 6).flatmap(lambda classes: st.tuples(*[st.lists(st.floats(-8, 8), min_size=classes, max_size=classes)] * 2))


def row(values: Sequence[float]) -> Tensor:
    return torch.tensor([list(values)], dtype=torch.float64)


def softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    exponentials = [math.exp(z / temperature) for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def looped_cross_entropy(logits: Tensor, labels: Tensor) -> list[float]:
    return [-math.log(softmax(z)[y]) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)]


def looped_kl(student: Tensor, teacher: Tensor, temperature: float) -> float:
    total = 0.0
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = softmax(z_t, temperature), softmax(z_s, temperature)
        for c in range(len(p)):
            total += p[c] * (math.log(p[c]) - math.log(q[c]))
    return total / len(student)


@pytest.mark.parametrize(("temperature", "plain", "scaled", "elementwise"), [
    (1.0, 0.48417578, 0.48417578, 0.48417578 / 3),
    (3.0, 0.06849317, 0.61643851, 0.20547950),
    (4.0, 0.03930447, 0.62887150, 0.20962383),
])  # fmt: skip
def test_golden_divergences(temperature: float, plain: float, scaled: float, elementwise: float) -> None:
    assert float(soft_kl(STUDENT, TEACHER, temperature, scale=False)) == pytest.approx(plain, abs=1e-8)
    assert float(soft_kl(STUDENT, TEACHER, temperature)) == pytest.approx(scaled, abs=1e-8)
    assert float(soft_kl(STUDENT, TEACHER, temperature, reduction="elementwise_mean")) == pytest.approx(elementwise, abs=1e-8)


def test_golden_cross_entropies() -> None:
    assert per_sample_cross_entropy(STUDENT, LABELS).tolist() == pytest.approx([0.4076059644, 0.6041306053], abs=1e-10)
    assert float(cross_entropy(STUDENT, LABELS)) == pytest.approx(0.5058682849, abs=1e-10)


def random_case(seed: int, classes: int = 5, count: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, count, classes, generator=generator, dtype=torch.float64) * 3
    labels, partners = torch.randint(classes, (2, count), generator=generator)
    return student, teacher, labels, partners


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_kl_against_a_loop(seed: int, temperature: float) -> None:
    student, teacher, _, _ = random_case(seed)
    expected = looped_kl(student, teacher, temperature)
    assert float(soft_kl(student, teacher, temperature, scale=False)) == pytest.approx(expected, rel=1e-10)
    assert float(soft_kl(student, teacher, temperature)) == pytest.approx(expected * temperature**2, rel=1e-10)
    both = soft_kl(student, teacher, temperature, scale=False, reduction="elementwise_mean")
    assert float(both) == pytest.approx(expected / 5, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_soft_cross_entropy_against_a_loop(seed: int, temperature: float) -> None:
    student, teacher, _, _ = random_case(seed)
    total = 0.0
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        for p, q in zip(softmax(z_t, temperature), softmax(z_s, temperature), strict=True):
            total -= p * math.log(q)
    assert float(soft_cross_entropy(student, teacher, temperature)) == pytest.approx(total / 7, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropies_against_a_loop(seed: int) -> None:
    logits, _, labels, partners = random_case(seed)
    own, other = looped_cross_entropy(logits, labels), looped_cross_entropy(logits, partners)
    assert per_sample_cross_entropy(logits, labels).tolist() == pytest.approx(own, rel=1e-10)
    assert float(cross_entropy(logits, labels)) == pytest.approx(sum(own) / 7, rel=1e-10)
    mixed = sum(0.3 * a + 0.7 * b for a, b in zip(own, other, strict=True)) / 7
    assert float(mixed_cross_entropy(logits, labels, partners, 0.3)) == pytest.approx(mixed, rel=1e-10)
    shares = [k / 6 for k in range(7)]
    each = sum(s * a + (1 - s) * b for s, a, b in zip(shares, own, other, strict=True)) / 7
    assert float(mixed_cross_entropy(logits, labels, partners, torch.tensor(shares, dtype=torch.float64))) == pytest.approx(each, rel=1e-10)


@given(row_pairs, st.floats(0.5, 8))
def test_soft_kl_is_never_negative(rows: tuple[list[float], list[float]], temperature: float) -> None:
    assert float(soft_kl(row(rows[0]), row(rows[1]), temperature)) >= -1e-9


@given(row_pairs, st.floats(-50, 50), st.floats(-50, 50))
def test_soft_kl_ignores_a_shift_of_the_logits(rows: tuple[list[float], list[float]], one: float, other: float) -> None:
    student, teacher = row(rows[0]), row(rows[1])
    assert float(soft_kl(student + one, teacher + other, 2.0)) == pytest.approx(float(soft_kl(student, teacher, 2.0)), abs=1e-9)


@given(row_pairs, st.floats(-5, 5))
def test_soft_kl_is_zero_for_equal_predictions_only(rows: tuple[list[float], list[float]], shift: float) -> None:
    student, teacher = row(rows[0]), row(rows[1])
    assert float(soft_kl(student + shift, student, 3.0)) == pytest.approx(0.0, abs=1e-9)
    distance = float((student.softmax(-1) - teacher.softmax(-1)).abs().sum())
    assert float(soft_kl(student, teacher)) >= 0.5 * distance**2 - 1e-9  # Pinsker's inequality


@given(row_pairs)
def test_soft_kl_of_high_temperature_is_the_squared_error_of_centred_logits(rows: tuple[list[float], list[float]]) -> None:
    student, teacher = row(rows[0]), row(rows[1])
    difference = (student - student.mean()) - (teacher - teacher.mean())
    limit = float(difference.square().mean()) / 2
    assert float(soft_kl(student, teacher, 1e4)) == pytest.approx(limit, rel=2e-2, abs=1e-5)


@given(row_pairs, st.floats(0, 1))
def test_mixup_loss_is_between_the_two_losses(rows: tuple[list[float], list[float]], share: float) -> None:
    logits, labels, partners = row(rows[0]), torch.tensor([0]), torch.tensor([1])
    ends = [float(cross_entropy(logits, y)) for y in (labels, partners)]
    mixed = float(mixed_cross_entropy(logits, labels, partners, share))
    assert min(ends) - 1e-9 <= mixed <= max(ends) + 1e-9
    assert float(mixed_cross_entropy(logits, labels, labels, share)) == pytest.approx(ends[0])


def test_the_teacher_is_the_reference_distribution() -> None:
    assert float(soft_kl(STUDENT, TEACHER)) != pytest.approx(float(soft_kl(TEACHER, STUDENT)), rel=1e-3)
    student = STUDENT.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(soft_kl(student, TEACHER, 2.0), student)
    torch.testing.assert_close(gradient, 2.0 * ((STUDENT / 2).softmax(-1) - (TEACHER / 2).softmax(-1)) / len(STUDENT))


@given(row_pairs, st.floats(0.5, 8))
def test_soft_cross_entropy_is_the_divergence_and_the_teachers_entropy(rows: tuple[list[float], list[float]], temperature: float) -> None:
    student, teacher = row(rows[0]), row(rows[1])
    entropy = float(soft_cross_entropy(teacher, teacher, temperature))
    divergence = float(soft_kl(student, teacher, temperature, scale=False))
    assert float(soft_cross_entropy(student, teacher, temperature)) == pytest.approx(divergence + entropy, abs=1e-9)


def test_soft_cross_entropy_with_a_distribution_or_a_label() -> None:
    probabilities = (TEACHER.softmax(-1) + STUDENT.flip(0).softmax(-1)) / 2
    expected = -(probabilities * STUDENT.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(soft_cross_entropy(STUDENT, probabilities.log()), expected)
    certain = 1e3 * torch.nn.functional.one_hot(LABELS, 3).double()
    torch.testing.assert_close(soft_cross_entropy(STUDENT, certain), cross_entropy(STUDENT, LABELS))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda s, _: cross_entropy(s, LABELS),
    "per_sample": lambda s, _: per_sample_cross_entropy(s, LABELS),
    "mixed": lambda s, _: mixed_cross_entropy(s, LABELS, LABELS.flip(0), 0.3),
    "mixed_per_sample": lambda s, _: mixed_cross_entropy(s, LABELS, LABELS.flip(0), torch.tensor([0.2, 0.9], dtype=torch.float64)),
    "soft_kl": lambda s, t: soft_kl(s, t, 3.0),
    "soft_kl_unscaled": lambda s, t: soft_kl(s, t, 0.7, scale=False),
    "soft_cross_entropy": lambda s, t: soft_cross_entropy(s, t, 3.0),
    "soft_kl_elementwise": lambda s, t: soft_kl(s, t, 2.0, reduction="elementwise_mean"),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_derivatives_agree_with_finite_differences(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "loss", [LOSSES["cross_entropy"], LOSSES["per_sample"], LOSSES["mixed"], LOSSES["soft_kl"], LOSSES["soft_cross_entropy"]]
)
def test_half_precision_logits_are_computed_in_float32(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    student, teacher = STUDENT.to(dtype) * 3.7, TEACHER.to(dtype) * 3.7
    found = loss(student, teacher)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(student.float(), teacher.float()))


def test_double_precision_is_kept() -> None:
    assert soft_kl(STUDENT, TEACHER).dtype == torch.float64


def test_confident_logits_give_finite_losses_and_gradients() -> None:
    student = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    loss = soft_kl(student, torch.tensor([[-200.0, 200.0, 0.0]])) + cross_entropy(student, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0.0}, "0.0"), ({"temperature": -2.0}, "-2.0"), ({"reduction": "sum"}, "sum")],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        soft_kl(STUDENT, TEACHER, **options)


def test_different_shapes_are_refused() -> None:
    for loss in (soft_kl, soft_cross_entropy):
        with pytest.raises(UserError, match=r"\(2, 3\).*\(2, 2\)"):
            loss(STUDENT, TEACHER[:, :2])


def test_a_temperature_that_is_not_positive_is_refused() -> None:
    with pytest.raises(UserError, match="temperature is -1"):
        soft_cross_entropy(STUDENT, TEACHER, -1)
