"""Relational losses against loops over pairs and triplets of samples in float64, geometry computed by hand, and invariances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses import correlation_congruence, probabilistic_transfer, relational, similarity_preserving

Pair = Callable[[Tensor, Tensor], Tensor]
Matrix = list[list[float]]

LOSSES: list[Pair] = [similarity_preserving, correlation_congruence, probabilistic_transfer, relational]


def vectors(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def minus(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


def length(vector: Sequence[float]) -> float:
    return math.sqrt(dot(vector, vector))


def looped_similarity(student: Matrix, teacher: Matrix) -> float:
    def rows(samples: Matrix) -> Matrix:
        gram = [[dot(x, y) for y in samples] for x in samples]
        return [[value / max(length(row), 1e-12) for value in row] for row in gram]

    s, t, count = rows(student), rows(teacher), len(student)
    return sum((s[i][j] - t[i][j]) ** 2 for i in range(count) for j in range(count)) / count**2


def looped_correlation(student: Matrix, teacher: Matrix) -> float:
    errors = [[abs(a - b) for a, b in zip(s, t, strict=True)] for s, t in zip(student, teacher, strict=True)]
    return sum(dot(errors[i], errors[i + 1]) for i in range(len(errors) - 1)) / (len(errors) - 1)


def looped_transfer(student: Matrix, teacher: Matrix) -> float:
    def neighbours(samples: Matrix) -> Matrix:
        directions = [[v / (length(x) + 1e-7) for v in x] for x in samples]
        similar = [[(dot(x, y) + 1) / 2 for y in directions] for x in directions]
        return [[value / sum(row) for value in row] for row in similar]

    s, t, count = neighbours(student), neighbours(teacher), len(student)
    return sum(t[i][j] * math.log((t[i][j] + 1e-7) / (s[i][j] + 1e-7)) for i in range(count) for j in range(count)) / count**2


def huber(error: float) -> float:
    return error**2 / 2 if abs(error) < 1 else abs(error) - 0.5


def looped_relational(student: Matrix, teacher: Matrix, distance_weight: float = 25.0, angle_weight: float = 50.0) -> float:
    indices = range(len(student))

    def distances(samples: Matrix) -> Matrix:
        all_pairs = [[max(length(minus(x, y)), 1e-6) if i != j else 0.0 for j, y in enumerate(samples)] for i, x in enumerate(samples)]
        positive = [value for row in all_pairs for value in row if value > 0]
        return [[value * len(positive) / sum(positive) for value in row] for row in all_pairs]

    def cosine(samples: Matrix, i: int, j: int, k: int) -> float:
        one, other = minus(samples[j], samples[i]), minus(samples[k], samples[i])
        return dot(one, other) / (max(length(one), 1e-12) * max(length(other), 1e-12))

    s, t = distances(student), distances(teacher)
    distance = sum(huber(s[i][j] - t[i][j]) for i in indices for j in indices) / len(student) ** 2
    angles = sum(huber(cosine(student, i, j, k) - cosine(teacher, i, j, k)) for i in indices for j in indices for k in indices)
    return distance_weight * distance + angle_weight * angles / len(student) ** 3


REFERENCES: list[tuple[Pair, Callable[[Matrix, Matrix], float]]] = [
    (similarity_preserving, looped_similarity),
    (correlation_congruence, looped_correlation),
    (probabilistic_transfer, looped_transfer),
    (relational, looped_relational),
]


@pytest.mark.parametrize(("loss", "reference"), REFERENCES)
@pytest.mark.parametrize("count", [2, 3, 6])
def test_against_loops(loss: Pair, reference: Callable[[Matrix, Matrix], float], count: int) -> None:
    student, teacher = vectors(count, count, 4), 3 * vectors(count + 1, count, 4)
    assert float(loss(student, teacher)) == pytest.approx(reference(student.tolist(), teacher.tolist()), rel=1e-9)
    if loss is not correlation_congruence:
        teacher = vectors(count + 2, count, 9)
        assert float(loss(student, teacher)) == pytest.approx(reference(student.tolist(), teacher.tolist()), rel=1e-9)


@pytest.mark.parametrize(("loss", "reference"), REFERENCES)
def test_duplicates_and_zeros_against_loops(loss: Pair, reference: Callable[[Matrix, Matrix], float]) -> None:
    student, teacher = vectors(0, 6, 4), vectors(1, 6, 4)
    student[3] = student[1]
    student[4] = 0
    teacher[0] = teacher[5]
    assert float(loss(student, teacher)) == pytest.approx(reference(student.tolist(), teacher.tolist()), rel=1e-9)


def test_the_weights_of_distances_and_angles() -> None:
    student, teacher = vectors(0, 5, 4), vectors(1, 5, 3)
    for weights in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
        expected = looped_relational(student.tolist(), teacher.tolist(), *weights)
        assert float(relational(student, teacher, *weights)) == pytest.approx(expected, rel=1e-9)


def test_geometry_computed_by_hand() -> None:
    # An equilateral triangle against three points on a line: distances 1, 1, 1 against .75, .75, 1.5 after division by their means;
    # cosines of the angles at the corners .5 against 1, -1, 1.
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]], dtype=torch.float64)
    line = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    distance = 2 * (0.25**2 / 2 + 0.25**2 / 2 + 0.5**2 / 2) / 9
    angle = 2 * (0.5**2 / 2 + (1.5 - 0.5) + 0.5**2 / 2) / 27
    assert float(relational(triangle, line)) == pytest.approx(25 * distance + 50 * angle, rel=1e-9)
    # Gram rows (1, 0), (0, 1) against all 1 / sqrt 2.
    same = torch.ones(2, 3, dtype=torch.float64)
    apart = torch.eye(2, dtype=torch.float64)
    assert float(similarity_preserving(apart, same)) == pytest.approx(((1 - math.sqrt(0.5)) ** 2 + 0.5) / 2)
    # Rows (2/3, 1/3) of probabilities against (1/2, 1/2).
    expected = (math.log(0.5 * 3 / 2) + math.log(0.5 * 3)) / 4
    assert float(probabilistic_transfer(apart, same)) == pytest.approx(expected, rel=1e-5)
    # |d| = (1, 2), (3, 0), (1, 1): products 3 and 3.
    student = torch.tensor([[1.0, -2.0], [3.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert float(correlation_congruence(student, torch.zeros_like(student))) == pytest.approx(3.0)


def test_maps_are_flattened() -> None:
    student, teacher = vectors(0, 4, 2, 3, 3), vectors(1, 4, 2, 3, 3)
    for loss in LOSSES:
        assert float(loss(student, teacher)) == pytest.approx(float(loss(student.flatten(1), teacher.flatten(1))), rel=1e-12)


@pytest.mark.parametrize("loss", [similarity_preserving, probabilistic_transfer, relational])
def test_a_rotation_and_the_scale_do_not_matter(loss: Pair) -> None:
    student, teacher = vectors(0, 6, 5), vectors(1, 6, 7)
    rotation = torch.linalg.qr(vectors(2, 5, 5)).Q
    expected = float(loss(student, teacher))
    assert float(loss(4 * student @ rotation, teacher / 9)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(4 * student @ rotation, student)) == pytest.approx(0, abs=1e-12)


def test_a_common_shift_matters_to_angles_at_the_origin_only() -> None:
    student, teacher = vectors(0, 6, 5), vectors(1, 6, 7)
    assert float(relational(student + 3, teacher)) == pytest.approx(float(relational(student, teacher)), rel=1e-9)
    for loss in (similarity_preserving, probabilistic_transfer):
        assert float(loss(student + 3, teacher)) != pytest.approx(float(loss(student, teacher)), rel=1e-2)


def test_the_length_of_single_vectors_does_not_matter_to_cosines() -> None:
    student, teacher = vectors(0, 6, 5), vectors(1, 6, 7)
    lengths = torch.arange(1, 7, dtype=torch.float64)[:, None]
    assert float(probabilistic_transfer(student * lengths, teacher)) == pytest.approx(
        float(probabilistic_transfer(student, teacher)), rel=1e-5
    )


def test_neighbours_in_the_batch_matter_to_correlation() -> None:
    student, teacher = vectors(0, 6, 5), vectors(1, 6, 5)
    expected = float(correlation_congruence(student, teacher))
    order = [2, 0, 1, 5, 3, 4]
    assert float(correlation_congruence(student[order], teacher[order])) != pytest.approx(expected, rel=1e-3)
    assert float(correlation_congruence(student.flip(0), teacher.flip(0))) == pytest.approx(expected, rel=1e-12)
    assert float(correlation_congruence(teacher, student)) == pytest.approx(expected, rel=1e-12)


def test_opposite_vectors_have_a_finite_divergence() -> None:
    directions = torch.randn(1, 40, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 30)[:, None]
    student = torch.cat([directions, -directions]).requires_grad_()
    loss = probabilistic_transfer(student, torch.randn(60, 8, generator=torch.Generator().manual_seed(1)))
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_single_samples_are_refused() -> None:
    for loss in LOSSES:
        with pytest.raises(UserError, match=r"a batch of 1 .* at least 2"):
            loss(torch.ones(1, 4), torch.ones(1, 4))


def test_batches_of_different_sizes_are_refused() -> None:
    for loss in LOSSES:
        with pytest.raises(UserError, match=r"\(3, 4\).*\(2, 4\)"):
            loss(torch.ones(3, 4), torch.ones(2, 4))
        with pytest.raises(UserError, match=r"\(3,\)"):
            loss(torch.ones(3), torch.ones(3))
    with pytest.raises(UserError, match="4 dimensions, the teacher's 5"):
        correlation_congruence(torch.ones(3, 4), torch.ones(3, 5))
