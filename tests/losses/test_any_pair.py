"""Properties of every loss on features: derivatives, precision, order, equality, and degenerate inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from studygroup.losses import (
    activation_boundary,
    attention_transfer,
    correlation_congruence,
    factor_transfer,
    flow_of_solution,
    hint,
    neuron_selectivity,
    probabilistic_transfer,
    relational,
    similarity_preserving,
    variational_information,
)

Pair = Callable[[Tensor, Tensor], Tensor]

MAPS: dict[str, Pair] = {
    "hint": hint,
    "attention_transfer": attention_transfer,
    "factor_transfer": factor_transfer,
    "neuron_selectivity": neuron_selectivity,
    "flow_of_solution": lambda s, t: flow_of_solution([s, 2 * s[:, :2], s[:, 1:]], [t, 2 * t[:, :2], t[:, 1:]]),
    "activation_boundary": lambda s, t: activation_boundary([s, s * 2], [t, t]),
    "variational_information": lambda s, t: variational_information(s, torch.linspace(-1, 1, s.shape[1], dtype=s.dtype), t),
}
RELATIONS: dict[str, Pair] = {
    "similarity_preserving": similarity_preserving,
    "correlation_congruence": correlation_congruence,
    "probabilistic_transfer": probabilistic_transfer,
    "relational": relational,
}
ALL = MAPS | RELATIONS
ZERO_AT_EQUALITY = set(ALL) - {"activation_boundary", "variational_information"}

every_loss = pytest.mark.parametrize("name", ALL)


def pair(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, 4, 4, generator=generator, dtype=torch.float64).to(dtype)
    return student, teacher


@every_loss
def test_derivatives_agree_with_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 3, 3, 2, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(ALL[name], (student.requires_grad_(), teacher.requires_grad_()))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    student, teacher = pair(dtype)
    found = ALL[name](student, teacher)
    assert found.dtype == torch.float32
    assert torch.equal(found, ALL[name](student.float(), teacher.float()))


@every_loss
def test_autocast_does_not_affect_losses(name: str) -> None:
    student, teacher = pair()
    expected = ALL[name](student, teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ALL[name](student, teacher)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(found, expected)


@every_loss
def test_large_half_precision_values_are_finite(name: str) -> None:
    student, teacher = (8000 * features for features in pair(torch.float16))
    student.requires_grad_()
    loss = ALL[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.isfinite(loss)
    if name != "flow_of_solution":  # its gradient grows with the third power and leaves the range of float16
        assert torch.isfinite(gradient).all()


@every_loss
def test_double_precision_is_kept(name: str) -> None:
    found = ALL[name](*pair(torch.float64))
    assert found.dtype == torch.float64
    assert found.shape == ()


@every_loss
def test_the_order_of_the_batch_does_not_matter(name: str) -> None:
    student, teacher = pair(torch.float64)
    order = [3, 0, 4, 1, 2]
    same = torch.isclose(ALL[name](student[order], teacher[order]), ALL[name](student, teacher), rtol=1e-9)
    assert bool(same) == (name != "correlation_congruence")  # which compares neighbours


@every_loss
def test_the_pairing_of_samples_matters(name: str) -> None:
    student, teacher = pair(torch.float64)
    moved = ALL[name](student.roll(1, 0), teacher)
    assert not torch.isclose(moved, ALL[name](student, teacher), rtol=1e-4)


@pytest.mark.parametrize("name", sorted(ZERO_AT_EQUALITY))
def test_equal_features_are_the_minimum(name: str) -> None:
    student, teacher = pair(torch.float64)
    assert float(ALL[name](student, teacher)) > 1e-4
    assert float(ALL[name](teacher, teacher)) == pytest.approx(0, abs=1e-12)
    same = teacher.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ALL[name](same, teacher), same)
    assert float(gradient.abs().max()) < 1e-7


def test_the_variational_minimum_is_the_target() -> None:
    student, teacher = pair(torch.float64)
    same = teacher.clone().requires_grad_()
    loss = MAPS["variational_information"](same, teacher)
    (gradient,) = torch.autograd.grad(loss, same)
    assert float(gradient.abs().max()) < 1e-12
    assert float(loss.detach()) < float(MAPS["variational_information"](student, teacher))


def awkward() -> dict[str, tuple[Tensor, Tensor]]:
    student, teacher = pair()
    dead_sample, dead_channel, repeated = student.clone(), student.relu(), student.clone()
    dead_sample[2] = 0
    dead_channel[:, 1] = 0
    repeated[3] = repeated[1]
    zeros = torch.zeros_like(student)
    return {
        "equal": (teacher.clone(), teacher),
        "zero_student": (zeros, teacher),
        "zero_teacher": (student, zeros),
        "both_zero": (zeros, zeros),
        "dead_sample": (dead_sample, teacher),
        "dead_sample_of_both": (dead_sample, 2 * dead_sample),
        "dead_channel": (dead_channel, teacher),
        "repeated_sample": (repeated, teacher),
        "repeated_sample_of_both": (repeated, -repeated),
        "all_the_same": (student[:1].expand(5, -1, -1, -1), teacher),
        "all_the_same_in_both": (student[:1].expand(5, -1, -1, -1), teacher[:1].expand(5, -1, -1, -1)),
        "constant_maps": (torch.ones_like(student), teacher),
        "tiny": (student * 1e-15, teacher),
    }


@every_loss
@pytest.mark.parametrize("kind", awkward())
def test_degenerate_inputs_have_finite_losses_and_gradients(name: str, kind: str) -> None:
    student, teacher = (features.clone().requires_grad_() for features in awkward()[kind])
    loss = ALL[name](student, teacher)
    gradients = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert torch.isfinite(loss)
    for gradient in gradients:
        if gradient is not None:
            assert torch.isfinite(gradient).all()
            if kind != "tiny":  # a normalised loss of values near 0 is steep
                assert float(gradient.abs().max()) < 1e3


@every_loss
def test_student_and_teacher_may_be_the_same_tensor(name: str) -> None:
    features = pair()[0].requires_grad_()
    loss = ALL[name](features, features)
    (gradient,) = torch.autograd.grad(loss, features)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", MAPS)
def test_a_single_sample_has_a_loss(name: str) -> None:
    student, teacher = (features[:1].requires_grad_() for features in pair(torch.float64))
    loss = MAPS[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.isfinite(gradient).all()
    doubled = MAPS[name](torch.cat([student, student]), torch.cat([teacher, teacher]))
    assert float(loss.detach()) == pytest.approx(float(doubled.detach()), rel=1e-9)  # a mean over samples
