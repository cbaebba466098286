"""Contrastive representation distillation (Tian, Krishnan and Isola, ICLR 2020, arXiv:1910.10699).

A student's embedding of a sample is told from the teacher's embeddings of K samples of other classes by noise-contrastive estimation,
and the other way round. Embeddings of all N training samples are remembered in two banks. Constants are those of the authors' code.
Shapes: B batch, K negatives, N training samples, D dimensions of the embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.losses.numerics import full_precision, unit


@full_precision
def noise_contrastive(scores: Tensor, population: int) -> Tensor:
    """One direction of the loss (Eq. 18): the positive is to be told from K samples of uniform noise.

        - mean over the batch of [ log P_0 / (P_0 + K/N + e) + sum over k = 1 .. K of log (K/N) / (P_k + K/N + e) ],  e = 1e-7

    Args:
        scores: P (B, 1 + K), positive, those of the true pairs first.
        population: N, the number of samples that negatives are drawn from.

    Raises:
        UserError: there are no negatives.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise UserError(f"scores are {tuple(scores.shape)}; they must be (B, 1 + K) with at least one negative")
    noise = (scores.shape[1] - 1) / population
    denominator = (scores + noise + 1e-7).log()
    positive = scores[:, 0].log() - denominator[:, 0]
    negative = (math.log(noise) - denominator[:, 1:]).sum(1)
    return -(positive + negative).mean()


class MemoryBank(nn.Module):
    """The embeddings of all training samples as last seen, smoothed.

    Attributes:
        vectors: (N, D) float32 buffer, at first uniform in +-1 / sqrt(D / 3), of unit length once updated.
        normaliser: Z, a scalar buffer: fixed by the first scores, so that they are probabilities on average. 0 until then.
    """

    vectors: Tensor
    normaliser: Tensor

    def __init__(
        self,
        samples: int,
        dimensions: int = 128,
        *,
        temperature: float = 0.07,
        momentum: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        """Set up an empty memory.

        Args:
            samples: N >= 1.
            dimensions: D >= 1.
            temperature: tau > 0 of the scores.
            momentum: share in [0, 1) of the old vector in an update.
            generator: of the first vectors.

        Raises:
            UserError: a value out of range.
        """
        super().__init__()
        if samples < 1 or dimensions < 1:
            raise UserError(f"a memory of {samples} samples with {dimensions} dimensions; both must be at least 1")
        if temperature <= 0:
            raise UserError(f"temperature is {temperature}; it must be positive")
        if not 0 <= momentum < 1:
            raise UserError(f"momentum is {momentum}; it must lie in [0, 1)")
        self.temperature = temperature
        self.momentum = momentum
        bound = 1 / math.sqrt(dimensions / 3)
        self.register_buffer("vectors", (torch.rand(samples, dimensions, generator=generator) * 2 - 1) * bound)
        self.register_buffer("normaliser", torch.zeros(()))

    def __len__(self) -> int:
        return len(self.vectors)

    @full_precision
    def scores(self, anchors: Tensor, candidates: Tensor) -> Tensor:
        """P = exp(anchor . vector / tau) / Z of each anchor with its candidates.

        The first call fixes Z = N * mean of the exponentials. No gradient reaches the memory.

        Args:
            anchors: embeddings of unit length (B, D).
            candidates: (B, 1 + K) positions in the memory.

        Returns:
            (B, 1 + K).
        """
        if candidates.shape[1] * anchors.shape[1] < len(self):  # few out of many: fetch these vectors, else multiply with all
            products = torch.einsum("bkd,bd->bk", self.vectors[candidates], anchors)
        else:
            products = (anchors @ self.vectors.mT).gather(1, candidates)
        exponentials = (products / self.temperature).exp()
        with torch.no_grad():
            first = len(self) * exponentials.mean().to(self.normaliser.dtype)
            self.normaliser = torch.where(self.normaliser > 0, self.normaliser, first)
        return exponentials / self.normaliser

    @torch.no_grad()
    @full_precision
    def update(self, embeddings: Tensor, indices: Tensor) -> None:
        """Move the vectors of a batch towards their new embeddings: v <- m v + (1 - m) e, to unit length.

        Args:
            embeddings: (B, D).
            indices: (B,) positions in the memory, each at most once.
        """
        moved = self.momentum * self.vectors[indices] + (1 - self.momentum) * embeddings
        # Not in place: the scores of this batch need the old vectors when gradients are computed.
        self.vectors = self.vectors.index_copy(0, indices, unit(moved).to(self.vectors.dtype))


def contrastive_representation(
    student: Tensor, teacher: Tensor, student_memory: MemoryBank, teacher_memory: MemoryBank, candidates: Tensor
) -> Tensor:
    """Both directions: the student's embeddings against the teacher's memory, the teacher's against the student's.

    Update the two memories afterwards.

    Args:
        student: embeddings of unit length (B, D).
        teacher: embeddings of unit length (B, D).
        student_memory: of the student's embeddings.
        teacher_memory: of the teacher's embeddings.
        candidates: (B, 1 + K) positions in both memories, each sample's own first, then negatives.
    """
    forth = noise_contrastive(teacher_memory.scores(student, candidates), len(teacher_memory))
    back = noise_contrastive(student_memory.scores(teacher, candidates), len(student_memory))
    return forth + back


@torch.no_grad()
def draw_negatives(population: Tensor, labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For each sample of a batch, samples of other classes, uniformly; none twice unless there are fewer than `count`.

    Args:
        population: classes (N,) of all training samples.
        labels: classes (B,) of the batch.
        count: K >= 1.
        generator: drawn from, on its own device; memory there: (B, N).

    Returns:
        Positions in the population (B, K), on the device of `labels`.

    Raises:
        UserError: `count` is below 1, or all samples are of one class.
    """
    if count < 1:
        raise UserError(f"the number of negatives is {count}; it must be at least 1")
    device = generator.device
    order = population.to(device).argsort(stable=True)
    ascending = population.to(device)[order]
    classes = labels.to(device).contiguous()
    start = torch.searchsorted(ascending, classes)[:, None]  # (B, 1): where the sample's own class begins in the order
    own = torch.searchsorted(ascending, classes, right=True)[:, None] - start  # (B, 1): and how many it has
    available = len(population) - own
    if bool((available < 1).any()):
        raise UserError("all training samples are of one class, so there are no negatives; the data must have at least two classes")
    drawn = (torch.rand(len(labels), count, generator=generator, device=device, dtype=torch.float64) * available).long()
    enough = available >= count
    if bool(enough.any()):
        keys = torch.rand(len(labels), len(population), generator=generator, device=device)
        keys.masked_fill_(torch.arange(len(population), device=device) >= available, -1.0)
        drawn = torch.where(enough, keys.topk(min(count, len(population)), dim=1).indices, drawn)
    return order[torch.where(drawn >= start, drawn + own, drawn)].to(labels.device)
