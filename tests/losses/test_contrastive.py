"""Contrastive distillation against loops over samples and candidates; memory banks; negatives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses import MemoryBank, contrastive_representation, draw_negatives, noise_contrastive


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def embeddings(seed: int, count: int, dimensions: int = 8) -> Tensor:
    return F.normalize(torch.randn(count, dimensions, generator=generator(seed), dtype=torch.float64))


def bank(samples: int = 12, seed: int = 5) -> MemoryBank:
    return MemoryBank(samples, 8, generator=generator(seed)).double()


def looped_contrast(scores: Tensor, population: int) -> float:
    total = 0.0
    for row in scores.tolist():
        noise = (len(row) - 1) / population
        total -= math.log(row[0] / (row[0] + noise + 1e-7))
        for score in row[1:]:
            total -= math.log(noise / (score + noise + 1e-7))
    return total / len(scores)


def looped_exponentials(anchors: Tensor, vectors: Tensor, candidates: Tensor) -> list[list[float]]:
    return [
        [math.exp(sum(a * v for a, v in zip(anchor, vectors[c].tolist(), strict=True)) / 0.07) for c in row]
        for anchor, row in zip(anchors.tolist(), candidates.tolist(), strict=True)
    ]


def looped_scores(anchors: Tensor, vectors: Tensor, candidates: Tensor) -> Tensor:
    rows = looped_exponentials(anchors, vectors, candidates)
    z = len(vectors) * sum(map(sum, rows)) / (len(rows) * len(rows[0]))
    return torch.tensor(rows, dtype=torch.float64) / z


CANDIDATES = torch.tensor([[0, 4, 5, 5], [3, 0, 1, 9], [7, 11, 2, 4]])


def test_noise_contrastive_loss_against_a_loop() -> None:
    scores = torch.rand(3, 6, generator=generator(), dtype=torch.float64)
    for population in (4, 500):
        assert float(noise_contrastive(scores, population)) == pytest.approx(looped_contrast(scores, population), rel=1e-10)


def test_contrastive_loss_against_loops() -> None:
    student, teacher, student_memory, teacher_memory = embeddings(0, 3), embeddings(1, 3), bank(seed=2), bank(seed=3)
    found = contrastive_representation(student, teacher, student_memory, teacher_memory, CANDIDATES)
    forth = looped_contrast(looped_scores(student, teacher_memory.vectors, CANDIDATES), 12)
    back = looped_contrast(looped_scores(teacher, student_memory.vectors, CANDIDATES), 12)
    assert forth != pytest.approx(back, rel=1e-3)
    assert float(found) == pytest.approx(forth + back, rel=1e-10)


def test_the_loss_decreases_with_the_score_of_the_positive() -> None:
    """At the optimum P_0 -> infinity and P_k -> 0; all equal to the noise's 1/N it is log 2 for one negative, both terms."""
    flat = torch.full((2, 2), 1 / 50, dtype=torch.float64)
    assert float(noise_contrastive(flat, 50)) == pytest.approx(2 * math.log(2), rel=1e-4)
    telling = torch.tensor([[1e6, 1e-12]] * 2, dtype=torch.float64)
    assert float(noise_contrastive(telling, 50)) == pytest.approx(0, abs=1e-5)


def test_derivatives_agree_with_finite_differences() -> None:
    student, teacher = embeddings(0, 3).requires_grad_(), embeddings(1, 3).requires_grad_()
    memories = bank(seed=2), bank(seed=3)
    contrastive_representation(student, teacher, *memories, CANDIDATES)  # fixes Z
    assert torch.autograd.gradcheck(lambda s, t: contrastive_representation(s, t, *memories, CANDIDATES), (student, teacher))


def test_few_candidates_of_a_large_bank_have_the_same_scores() -> None:
    anchors = embeddings(0, 3)
    large = bank(40)
    assert CANDIDATES.shape[1] * anchors.shape[1] < len(large), "this is the case in which single vectors are fetched"
    torch.testing.assert_close(large.scores(anchors, CANDIDATES), looped_scores(anchors, large.vectors, CANDIDATES))
    small = bank(12)
    torch.testing.assert_close(small.scores(anchors, CANDIDATES), looped_scores(anchors, small.vectors, CANDIDATES))


def test_the_first_batch_sets_the_normaliser() -> None:
    memory = bank()
    first = memory.scores(embeddings(0, 3), CANDIDATES)
    assert float(first.mean()) == pytest.approx(1 / 12)
    fixed = memory.normaliser.clone()
    other = embeddings(1, 3)
    expected = torch.tensor(looped_exponentials(other, memory.vectors, CANDIDATES), dtype=torch.float64) / fixed
    torch.testing.assert_close(memory.scores(other, CANDIDATES), expected)
    assert torch.equal(memory.normaliser, fixed)
    assert not fixed.requires_grad


def test_a_memory_bank_is_restored_from_a_checkpoint() -> None:
    memory, again = bank(seed=2), bank(seed=3)
    memory.scores(embeddings(0, 3), CANDIDATES)
    memory.update(embeddings(0, 3), CANDIDATES[:, 0])
    again.load_state_dict(memory.state_dict())
    anchors = embeddings(1, 3)
    assert torch.equal(memory.scores(anchors, CANDIDATES), again.scores(anchors, CANDIDATES))
    assert not list(memory.parameters())


def test_memory_banks_are_initially_uniform() -> None:
    memory = MemoryBank(2000, 128, generator=generator())
    bound = 1 / math.sqrt(128 / 3)
    assert memory.vectors.shape == (2000, 128)
    assert len(memory) == 2000
    assert float(memory.vectors.abs().max()) == pytest.approx(bound, rel=1e-3)
    assert float(memory.vectors.mean()) == pytest.approx(0, abs=1e-3)
    assert float(memory.vectors.std()) == pytest.approx(bound / math.sqrt(3), rel=1e-2)
    assert torch.equal(memory.vectors, MemoryBank(2000, 128, generator=generator()).vectors)


def test_an_update_moves_half_way_and_normalises() -> None:
    memory = bank()
    before, new, where = memory.vectors.clone(), embeddings(1, 3), torch.tensor([7, 0, 3])
    memory.update(new.requires_grad_(), where)
    for vector, index in zip(new.detach(), where.tolist(), strict=True):
        moved = (before[index] + vector) / 2
        torch.testing.assert_close(memory.vectors[index], moved / moved.norm())
    others = [i for i in range(12) if i not in (7, 0, 3)]
    assert torch.equal(memory.vectors[others], before[others])
    assert not memory.vectors.requires_grad
    slow = MemoryBank(12, 8, momentum=0.9, generator=generator(5)).double()
    slow.update(new, where)
    moved = 0.9 * before[7] + 0.1 * new[0].detach()
    torch.testing.assert_close(slow.vectors[7], moved / moved.norm())


def test_an_update_does_not_change_pending_gradients() -> None:
    for samples in (12, 40):
        anchors, memory = embeddings(0, 3).requires_grad_(), bank(samples)
        (expected,) = torch.autograd.grad(noise_contrastive(memory.scores(anchors, CANDIDATES), samples), anchors)
        loss = noise_contrastive(memory.scores(anchors, CANDIDATES), samples)
        memory.update(anchors, CANDIDATES[:, 0])
        (gradient,) = torch.autograd.grad(loss, anchors)
        assert torch.equal(gradient, expected)


def test_half_precision_embeddings() -> None:
    memory = MemoryBank(12, 8, generator=generator())
    anchors = embeddings(0, 3).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = memory.scores(anchors, CANDIDATES)
        memory.update(anchors, CANDIDATES[:, 0])
    assert scores.dtype == memory.vectors.dtype == torch.float32
    memory = MemoryBank(12, 8, generator=generator())
    assert torch.equal(scores, memory.scores(anchors.float(), CANDIDATES))


def test_degenerate_embeddings_are_finite() -> None:
    """Zero embeddings, a single sample, and embeddings equal to those of the bank."""
    memory = MemoryBank(12, 8, generator=generator())
    memory.update(torch.eye(8), torch.arange(8))
    for anchors in (torch.zeros(1, 8), torch.eye(8)[:1], -torch.eye(8)[:1]):
        anchors.requires_grad_()
        loss = noise_contrastive(memory.scores(anchors, CANDIDATES[:1]), 12)
        (gradient,) = torch.autograd.grad(loss, anchors)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
    memory.update(torch.zeros(1, 8), torch.tensor([0]))
    assert torch.isfinite(memory.vectors).all()


POPULATION = torch.tensor([2, 0, 1, 2, 2, 0, 1, 2, 2, 2])  # 2 of class 0, 2 of class 1, 6 of class 2


def test_negatives_are_of_other_classes_without_repetition() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    for seed in range(20):
        drawn = draw_negatives(POPULATION, labels, 8, generator(seed))
        assert drawn.shape == (4, 8)
        for row, label in zip(drawn.tolist(), labels.tolist(), strict=True):
            assert sorted(row) == [i for i, other in enumerate(POPULATION.tolist()) if other != label]


def test_too_few_negatives_are_repeated() -> None:
    labels = torch.tensor([2, 0])
    drawn = draw_negatives(POPULATION, labels, 7, generator())
    assert set(drawn[0].tolist()) <= {1, 2, 5, 6}
    assert len(set(drawn[1].tolist())) == 7
    assert not {1, 5} & set(drawn[1].tolist())
    many = draw_negatives(POPULATION, labels, 4000, generator())
    assert many.shape == (2, 4000)
    shares = many[0].bincount(minlength=10) / 4000
    assert shares.tolist() == pytest.approx([0, 0.25, 0.25, 0, 0, 0.25, 0.25, 0, 0, 0], abs=0.03)


def test_all_negatives_are_equally_likely() -> None:
    labels = torch.tensor([0]).expand(6000)
    shares = draw_negatives(POPULATION, labels, 3, generator()).flatten().bincount(minlength=10) / 18000
    assert shares.tolist() == pytest.approx([0.125, 0, 0.125, 0.125, 0.125, 0, 0.125, 0.125, 0.125, 0.125], abs=0.01)


def test_draws_are_a_function_of_the_generator() -> None:
    labels = torch.tensor([0, 1, 2])
    state = torch.get_rng_state()
    first, same, other = (draw_negatives(POPULATION, labels, 4, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_invalid_values_are_refused() -> None:
    with pytest.raises(UserError, match=r"one class.*at least two"):
        draw_negatives(torch.zeros(5, dtype=torch.int64), torch.tensor([0]), 2, generator())
    with pytest.raises(UserError, match="0; it must be at least 1"):
        draw_negatives(POPULATION, torch.tensor([0]), 0, generator())
    with pytest.raises(UserError, match=r"\(3, 1\)"):
        noise_contrastive(torch.ones(3, 1), 10)
    with pytest.raises(UserError, match="memory bank of 0 samples"):
        MemoryBank(0)
    with pytest.raises(UserError, match=r"temperature is 0\.0"):
        MemoryBank(3, temperature=0.0)
    for momentum in (-0.1, 1.0):
        with pytest.raises(UserError, match=f"momentum is {momentum}"):
            MemoryBank(3, momentum=momentum)
