"""Losses on maps against loops over samples, channels and positions in float64, values computed by hand, and invariances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses import (
    activation_boundary,
    attention_transfer,
    factor_transfer,
    flow_of_solution,
    hint,
    match_size,
    neuron_selectivity,
    variational_information,
)

Map = list[list[list[float]]]  # one sample's channels, rows, columns
Pair = Callable[[Tensor, Tensor], Tensor]


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def looped_pool(features: Map, height: int, width: int) -> Map:
    """Means of windows that begin at floor(i H / h) and end before ceil((i + 1) H / h)."""

    def windows(size: int, wanted: int) -> list[range]:
        return [range(i * size // wanted, -(-(i + 1) * size // wanted)) for i in range(wanted)]

    pooled = []
    for channel in features:
        rows = []
        for vertical in windows(len(channel), height):
            row = []
            for horizontal in windows(len(channel[0]), width):
                values = [channel[y][x] for y in vertical for x in horizontal]
                row.append(sum(values) / len(values))
            rows.append(row)
        pooled.append(rows)
    return pooled


def looped_match(one: Map, other: Map) -> tuple[list[list[float]], list[list[float]]]:
    """Both as channels of the same positions."""
    height, width = min(len(one[0]), len(other[0])), min(len(one[0][0]), len(other[0][0]))
    first, second = ([[v for row in channel for v in row] for channel in looped_pool(f, height, width)] for f in (one, other))
    return first, second


def normalised(vector: Sequence[float]) -> list[float]:
    length = max(math.sqrt(sum(v * v for v in vector)), 1e-12)
    return [v / length for v in vector]


def attention(channels: list[list[float]]) -> list[float]:
    return normalised([sum(channel[p] ** 2 for channel in channels) / len(channels) for p in range(len(channels[0]))])


def looped_attention(student: Tensor, teacher: Tensor, power: int) -> float:
    total, count = 0.0, 0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        first, second = looped_match(s, t)
        for a, b in zip(attention(first), attention(second), strict=True):
            total += abs(a - b) ** power
            count += 1
    return total / count


def looped_selectivity(student: Tensor, teacher: Tensor) -> float:
    def kernel(left: list[list[float]], right: list[list[float]]) -> float:
        products = [sum(a * b for a, b in zip(x, y, strict=True)) ** 2 for x in left for y in right]
        return sum(products) / len(products)

    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        left, right = ([normalised(channel) for channel in f] for f in looped_match(s, t))
        total += kernel(left, left) - 2 * kernel(left, right) + kernel(right, right)
    return total / len(student)


def looped_flow(student: list[Tensor], teacher: list[Tensor]) -> float:
    def flow(below: Map, above: Map, i: int, j: int) -> float:
        first, second = looped_match(below, above)
        return sum(a * b for a, b in zip(first[i], second[j], strict=True)) / len(first[i])

    total = 0.0
    for k in range(len(student) - 1):
        errors = []
        for b in range(len(student[0])):
            for i in range(student[k].shape[1]):
                for j in range(student[k + 1].shape[1]):
                    s = flow(student[k][b].tolist(), student[k + 1][b].tolist(), i, j)
                    t = flow(teacher[k][b].tolist(), teacher[k + 1][b].tolist(), i, j)
                    errors.append((s - t) ** 2)
        total += sum(errors) / len(errors)
    return total


def looped_boundary(student: list[Tensor], teacher: list[Tensor]) -> float:
    total = 0.0
    for i in range(len(student)):
        for s, t in zip(student[i].flatten().tolist(), teacher[i].flatten().tolist(), strict=True):
            if s > -1 and t <= 0:
                total += 2.0 ** (i - len(student) + 1) * (s + 1) ** 2
            if s <= 1 and t > 0:
                total += 2.0 ** (i - len(student) + 1) * (s - 1) ** 2
    return total / len(student[0]) / 1000 * 3


def looped_information(mean: Tensor, log_scale: Tensor, target: Tensor) -> float:
    total, count = 0.0, 0
    for m, t in zip(mean.tolist(), target.tolist(), strict=True):
        first, second = looped_match(m, t)
        for c, (x, y) in enumerate(zip(first, second, strict=True)):
            variance = math.log(1 + math.exp(float(log_scale[c]))) + 1e-5
            for a, b in zip(x, y, strict=True):
                total += ((a - b) ** 2 / variance + math.log(variance)) / 2
                count += 1
    return total / count


# Student's and teacher's maps: equal, larger by a factor, larger by no factor, smaller, and larger in one direction only.
SIZES = [((4, 4), (4, 4)), ((4, 4), (2, 2)), ((5, 4), (3, 3)), ((2, 3), (4, 5)), ((4, 2), (3, 3))]


@pytest.mark.parametrize(("student_size", "teacher_size"), SIZES)
def test_pairs_of_maps_against_loops(student_size: tuple[int, int], teacher_size: tuple[int, int]) -> None:
    student, teacher = maps(0, 3, 2, *student_size), maps(1, 3, 4, *teacher_size)
    assert float(attention_transfer(student, teacher)) == pytest.approx(looped_attention(student, teacher, 2), rel=1e-10)
    assert float(factor_transfer(student, teacher)) == pytest.approx(looped_attention(student, teacher, 1), rel=1e-10)
    assert float(neuron_selectivity(student, teacher)) == pytest.approx(looped_selectivity(student, teacher), rel=1e-10)
    target, scale = maps(2, 3, 2, *teacher_size), torch.tensor([-3.0, 4.9932], dtype=torch.float64)
    expected = looped_information(student, scale, target)
    assert float(variational_information(student, scale, target)) == pytest.approx(expected, rel=1e-10)


def test_hint_against_a_loop() -> None:
    student, teacher = maps(0, 3, 2, 4, 4), maps(1, 3, 2, 4, 4)
    errors = [(s - t) ** 2 for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)]
    assert float(hint(student, teacher)) == pytest.approx(sum(errors) / len(errors), rel=1e-12)


def test_flow_of_solution_against_a_loop() -> None:
    student = [maps(k, 2, *shape) for k, shape in enumerate([(2, 4, 4), (3, 4, 4), (2, 2, 2), (2, 3, 3)])]
    teacher = [maps(9 + k, 2, *shape) for k, shape in enumerate([(2, 5, 5), (3, 4, 4), (2, 2, 2), (2, 1, 1)])]
    assert float(flow_of_solution(student, teacher)) == pytest.approx(looped_flow(student, teacher), rel=1e-10)


def test_activation_boundary_against_a_loop() -> None:
    student, teacher = ([2 * maps(seed + k, 3, 2, 4 - k, 4 - k) for k in range(3)] for seed in (0, 9))
    teacher[0][0, 0, 0, 0] = 0.0  # counts as off
    student[0][0, 0, 0, 0] = 0.5
    assert float(activation_boundary(student, teacher)) == pytest.approx(looped_boundary(student, teacher), rel=1e-10)


def test_losses_computed_by_hand() -> None:
    def one(*values: float) -> Tensor:
        return torch.tensor([[list(values)]], dtype=torch.float64)  # one sample, one channel, a sequence

    # (3, 4) squared is (9, 16), of length sqrt 337; (1, 0) squared has direction (1, 0).
    a, b = 9 / math.sqrt(337), 16 / math.sqrt(337)
    assert float(attention_transfer(one(3, 4), one(1, 0))) == pytest.approx(((1 - a) ** 2 + b**2) / 2)
    assert float(factor_transfer(one(3, 4), one(1, 0))) == pytest.approx((1 - a + b) / 2)
    # The cosine of the two channels is .6.
    assert float(neuron_selectivity(one(3, 4), one(1, 0))) == pytest.approx(1 - 2 * 0.36 + 1)
    # G_s = (1 * 5 + 2 * 6) / 2 = 8.5, G_t = 1.
    assert float(flow_of_solution([one(1, 2), one(5, 6)], [one(1, 1), one(1, 1)])) == pytest.approx(7.5**2)
    # Off: (.5 + 1)^2 and 0; on: 0 and (-1 - 1)^2; the first of two maps has half the weight.
    off, on = (one(0.5, -2), one(-1, 0)), (one(3, -1), one(1, 2))
    assert float(activation_boundary([off[0], on[0]], [off[1], on[1]])) == pytest.approx((0.5 * 2.25 + 4) * 0.003)
    assert float(activation_boundary([on[0]], [on[1]], margin=2.0)) == pytest.approx(9 * 0.003)
    # Variance 5: the initial value of log_scale.
    found = variational_information(one(1, 2), torch.tensor([math.log(math.exp(5 - 1e-5) - 1)], dtype=torch.float64), one(4, 2))
    assert float(found) == pytest.approx((9 / 5 / 2 + math.log(5)) / 2)


def test_sequences_are_maps_of_one_row() -> None:
    student, teacher = maps(0, 3, 2, 6), maps(1, 3, 4, 4)
    for loss in (attention_transfer, factor_transfer, neuron_selectivity):
        assert float(loss(student, teacher)) == pytest.approx(float(loss(student[:, :, None], teacher[:, :, None])), rel=1e-12)


def test_matched_maps_keep_their_channels() -> None:
    one, other = match_size(maps(0, 2, 3, 8, 4), maps(1, 2, 5, 4, 6))
    assert (one.shape, other.shape) == ((2, 3, 4, 4), (2, 5, 4, 4))
    same = maps(2, 2, 3, 4, 4)
    assert match_size(same, other)[0] is same


SCALE_FREE: list[Pair] = [attention_transfer, factor_transfer, neuron_selectivity]


@pytest.mark.parametrize("loss", SCALE_FREE)
def test_the_scale_of_a_map_does_not_matter(loss: Pair) -> None:
    student, teacher = maps(0, 3, 4, 5, 5), maps(1, 3, 6, 5, 5)
    expected = float(loss(student, teacher))
    assert float(loss(student * 7, teacher / 3)) == pytest.approx(expected, rel=1e-9)
    assert float(loss(student, 2 * student)) == pytest.approx(0, abs=1e-12)
    assert float(loss(student[:, [2, 0, 3, 1]], teacher)) == pytest.approx(expected, rel=1e-9)  # nor the order of channels
    assert float(loss(student.flip(3), teacher.flip(3))) == pytest.approx(expected, rel=1e-9)  # nor where the positions are


def test_selectivity_ignores_the_scale_of_a_channel() -> None:
    student, teacher = maps(0, 3, 4, 5, 5), maps(1, 3, 6, 5, 5)
    strengths = torch.tensor([1.0, 2.0, -0.5, 30.0], dtype=torch.float64)[:, None, None]
    assert float(neuron_selectivity(student * strengths, teacher)) == pytest.approx(float(neuron_selectivity(student, teacher)), rel=1e-9)
    assert float(attention_transfer(student * strengths, teacher)) != pytest.approx(float(attention_transfer(student, teacher)), rel=1e-3)


def test_flow_ignores_the_order_of_positions() -> None:
    student, teacher = ([maps(seed + k, 2, 3, 4, 4) for k in range(3)] for seed in (0, 9))
    moved = [features.flip(2).roll(1, 3) for features in student]
    assert float(flow_of_solution(moved, teacher)) == pytest.approx(float(flow_of_solution(student, teacher)), rel=1e-9)
    turned = [maps.mT for maps in teacher]
    assert float(flow_of_solution(teacher, turned)) == pytest.approx(0, abs=1e-20)


def test_activation_boundaries_compare_signs() -> None:
    student, teacher = maps(0, 3, 2, 4, 4), maps(1, 3, 2, 4, 4)
    expected = float(activation_boundary([student], [teacher]))
    assert float(activation_boundary([student], [teacher.sign() * 100])) == pytest.approx(expected, rel=1e-12)
    assert float(activation_boundary([student], [-teacher])) != pytest.approx(expected, rel=1e-3)
    assert float(activation_boundary([teacher.sign() * 1.01], [teacher])) == 0
    assert float(activation_boundary([torch.cat([student, student])], [torch.cat([teacher, teacher])])) == pytest.approx(expected)


def test_variational_information_is_a_gaussian_likelihood() -> None:
    mean, target = maps(0, 3, 2, 4, 4), maps(1, 3, 2, 4, 4)
    scale = torch.tensor([0.3, 1.5], dtype=torch.float64)
    variance = (scale.exp() + 1).log() + 1e-5
    density = torch.distributions.Normal(mean, variance.sqrt()[:, None, None]).log_prob(target)
    expected = -float(density.mean()) - math.log(2 * math.pi) / 2
    assert float(variational_information(mean, scale, target)) == pytest.approx(expected, rel=1e-12)
    assert float(variational_information(target, scale, target)) == pytest.approx(float(variance.log().mean()) / 2)


def test_the_best_variance_is_the_mean_squared_error() -> None:
    mean, target = maps(0, 5, 1, 6, 6), maps(1, 5, 1, 6, 6)
    error = float((mean - target).square().mean())
    scale = torch.tensor([math.log(math.expm1(error - 1e-5))], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(variational_information(mean, scale, target), scale)
    assert float(gradient) == pytest.approx(0, abs=1e-12)


def test_extreme_scales_are_finite() -> None:
    scale = torch.tensor([-200.0, 200.0], requires_grad=True)
    loss = variational_information(torch.ones(2, 2, 3, 3), scale, torch.zeros(2, 2, 3, 3))
    (gradient,) = torch.autograd.grad(loss, scale)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [attention_transfer, factor_transfer, neuron_selectivity])
@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((2, 3), (2, 3), r"\(2, 3\)"),
        ((2, 3, 4, 4), (2, 3, 4), r"\(2, 3, 4\)"),
        ((2, 3, 4, 4), (3, 3, 4, 4), r"\(3, 3, 4, 4\)"),
        ((2, 3, 4, 4, 4), (2, 3, 4, 4, 4), r"\(2, 3, 4, 4, 4\)"),
    ],
)
def test_maps_of_different_samples_are_refused(loss: Pair, student: tuple[int, ...], teacher: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        loss(torch.ones(student), torch.ones(teacher))


def test_a_hint_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(2, 3, 4, 4\).*\(2, 5, 4, 4\).*regressor"):
        hint(torch.ones(2, 3, 4, 4), torch.ones(2, 5, 4, 4))


def test_lists_of_maps_that_do_not_fit_are_refused() -> None:
    one, wide, small = torch.ones(2, 3, 4, 4), torch.ones(2, 5, 4, 4), torch.ones(2, 3, 2, 2)
    for loss in (flow_of_solution, activation_boundary):
        with pytest.raises(UserError, match="2 maps of the student, 3 of the teacher"):
            loss([one, one], [one, one, one])
    with pytest.raises(UserError, match="at least 2"):
        flow_of_solution([one], [one])
    with pytest.raises(UserError, match="at least 1"):
        activation_boundary([], [])
    with pytest.raises(UserError, match=r"\(2, 3\), \(2, 5\).*same widths"):
        flow_of_solution([one, one], [one, wide])
    with pytest.raises(UserError, match=r"\(2, 3, 2, 2\)"):
        activation_boundary([one, one], [one, small])


def test_scales_of_other_channels_are_refused() -> None:
    for mean, scale in [((2, 3, 4, 4), 5), ((2, 5, 4, 4), 5)]:
        with pytest.raises(UserError, match=f"{mean[1]} channels, the target 3"):
            variational_information(torch.ones(mean), torch.zeros(scale), torch.ones(2, 3, 4, 4))


# ---------------------------------------------------------------- texts

LENGTHS = [5, 2, 0, 3]
LOG_SCALE = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
OF_TEXTS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "hint": hint,
    "attention_transfer": attention_transfer,
    "variational_information": lambda s, t, mask: variational_information(s, LOG_SCALE, t, mask),
    "flow_of_solution": lambda s, t, mask: flow_of_solution([s, s.sin()], [t, t.sin()], mask),
    "activation_boundary": lambda s, t, mask: activation_boundary([s, s.sin()], [t, t.sin()], 1.0, [mask, mask]),
    "neuron_selectivity": lambda s, t, _: neuron_selectivity(s, t),
}


@pytest.mark.parametrize("loss", OF_TEXTS.values(), ids=OF_TEXTS.keys())
@pytest.mark.parametrize("shape", [(4, 3, 1, 7), (4, 3, 7)])
def test_texts_have_equal_weight_and_padding_has_none(
    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor], shape: tuple[int, ...]
) -> None:
    mask = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    there = mask.view(4, *[1] * (len(shape) - 2), 7)
    student, teacher = maps(1, *shape) * there, maps(2, *shape) * there
    alone = [
        float(loss(student[row : row + 1, ..., :length], teacher[row : row + 1, ..., :length], None)) if length else 0.0
        for row, length in enumerate(LENGTHS)
    ]
    assert float(loss(student, teacher, mask)) == pytest.approx(sum(alone) / 4, rel=1e-12)
    everywhere = torch.ones_like(mask)
    torch.testing.assert_close(loss(maps(1, *shape), maps(2, *shape), everywhere), loss(maps(1, *shape), maps(2, *shape), None))
