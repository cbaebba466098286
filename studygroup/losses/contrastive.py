"""Contrastive representation distillation (Tian, Krishnan and Isola, ICLR 2020, arXiv:1910.10699).

Noise-contrastive estimation: a student's embedding of a sample must match the teacher's embedding of the same sample, among those of K
samples of other classes; and vice versa. Two memory banks keep the embeddings of all N training samples. Constants are those of the
authors' code. Shapes: B batch, K negatives, N training samples, D dimensions of the embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.losses.numerics import full_precision, unit


@full_precision
def noise_contrastive(scores: Tensor, population: int) -> Tensor:
    """Compute one direction of the loss (Eq. 18), which contrasts the positive with K samples of uniform noise.

        - mean over the batch of [ log P_0 / (P_0 + K/N + e) + sum over k = 1 .. K of log (K/N) / (P_k + K/N + e) ],  e = 1e-7

    Args:
        scores: P (B, 1 + K) > 0; the first is that of the positive.
        population: N, number of samples that negatives are drawn from.

    Raises:
        UserError: there are no negatives.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> sure, unsure = torch.tensor([[1.0, 1e-6, 1e-6]]), torch.tensor([[0.1, 0.1, 0.1]])
        >>> bool(losses.noise_contrastive(sure, 100) < losses.noise_contrastive(unsure, 100))
        True
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise UserError(f"scores are {tuple(scores.shape)}; they must be (B, 1 + K) with at least one negative")
    noise = (scores.shape[1] - 1) / population
    denominator = (scores + noise + 1e-7).log()
    positive = scores[:, 0].log() - denominator[:, 0]
    negative = (math.log(noise) - denominator[:, 1:]).sum(1)
    return -(positive + negative).mean()


class MemoryBank(nn.Module):
    """Exponential moving averages of the embeddings of all training samples.

    Attributes:
        vectors: (N, D) float32 buffer, initially uniform in +-1 / sqrt(D / 3), unit vectors once updated.
        normaliser: Z, a scalar buffer, set by the first scores, so that these are probabilities on average; 0 before.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> bank = losses.MemoryBank(samples=100, dimensions=8)
        >>> bank.update(torch.eye(8)[:2], torch.tensor([5, 7]))
        >>> bank.vectors[[5, 7]].norm(dim=1)
        tensor([1., 1.])
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
        """Initialise the bank.

        Args:
            samples: N >= 1.
            dimensions: D >= 1.
            temperature: tau > 0 of the scores.
            momentum: weight in [0, 1) of the old vector in an update.
            generator: of the initial vectors.

        Raises:
            UserError: a value is out of range.
        """
        super().__init__()
        if samples < 1 or dimensions < 1:
            raise UserError(f"a memory bank of {samples} samples with {dimensions} dimensions; both must be at least 1")
        if temperature <= 0:
            raise UserError(f"temperature is {temperature}; it must be positive")
        if not 0 <= momentum < 1:
            raise UserError(f"momentum is {momentum}; it must be in [0, 1)")
        self.temperature = temperature
        self.momentum = momentum
        bound = 1 / math.sqrt(dimensions / 3)
        self.register_buffer("vectors", (torch.rand(samples, dimensions, generator=generator) * 2 - 1) * bound)
        self.register_buffer("normaliser", torch.zeros(()))

    def __len__(self) -> int:
        return len(self.vectors)

    @full_precision
    def scores(self, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Compute the scores P = exp(anchor . vector / tau) / Z of anchors and candidates.

        The first call sets Z = N * mean of the exponentials. The bank gets no gradient.

        Args:
            anchors: normalised embeddings (B, D).
            candidates: (B, 1 + K) indices of samples.

        Returns:
            (B, 1 + K).
        """
        if candidates.shape[1] * anchors.shape[1] < len(self):  # for few candidates, gather their vectors; otherwise multiply with all
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
        """Move the vectors of a batch towards the new embeddings: v <- m v + (1 - m) e, normalised.

        Args:
            embeddings: (B, D).
            indices: (B,) of the samples, without repetition.
        """
        moved = self.momentum * self.vectors[indices] + (1 - self.momentum) * embeddings
        # Not in-place: the backward pass of this batch's scores needs the old vectors.
        self.vectors = self.vectors.index_copy(0, indices, unit(moved).to(self.vectors.dtype))


def contrastive_representation(
    student: Tensor, teacher: Tensor, student_memory: MemoryBank, teacher_memory: MemoryBank, candidates: Tensor
) -> Tensor:
    """Compute both directions: student embeddings against the teacher's memory bank, and vice versa.

    Update the two banks afterwards.

    Args:
        student: normalised embeddings (B, D).
        teacher: normalised embeddings (B, D).
        student_memory: of the student's embeddings.
        teacher_memory: of the teacher's embeddings.
        candidates: (B, 1 + K) indices of samples, first the sample itself, then negatives.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> banks = [losses.MemoryBank(100, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
        >>> embeddings = torch.eye(8)[:2]
        >>> candidates = torch.tensor([[0, 5, 6], [1, 7, 8]])  # the sample itself, then negatives
        >>> losses.contrastive_representation(embeddings, embeddings, *banks, candidates).shape
        torch.Size([])
    """
    student_loss = noise_contrastive(teacher_memory.scores(student, candidates), len(teacher_memory))
    teacher_loss = noise_contrastive(student_memory.scores(teacher, candidates), len(student_memory))
    return student_loss + teacher_loss


@torch.no_grad()
def draw_negatives(population: Tensor, labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw for each sample of a batch uniform samples of other classes, without repetition unless there are fewer than `count`.

    Args:
        population: classes (N,) of all training samples.
        labels: classes (B,) of the batch.
        count: K >= 1.
        generator: random generator; the draw runs on its device and needs memory for (B, N).

    Returns:
        Indices in the population (B, K), on the device of `labels`.

    Raises:
        UserError: `count` is below 1, or all samples are of one class.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> population = torch.tensor([0, 0, 1, 1, 1])  # classes of the training samples
        >>> drawn = losses.draw_negatives(population, torch.tensor([0]), 3, torch.Generator().manual_seed(0))
        >>> sorted(drawn[0].tolist())
        [2, 3, 4]
    """
    if count < 1:
        raise UserError(f"the number of negatives is {count}; it must be at least 1")
    device = generator.device
    order = population.to(device).argsort(stable=True)
    ascending = population.to(device)[order]
    classes = labels.to(device).contiguous()
    start = torch.searchsorted(ascending, classes)[:, None]  # (B, 1): start of the sample's class in the order
    own = torch.searchsorted(ascending, classes, right=True)[:, None] - start  # (B, 1): its size
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


@full_precision
def supervised_contrast(similarity: Tensor, labels: Tensor) -> Tensor:
    """Compute the supervised contrastive loss (Khosla et al., NeurIPS 2020, arXiv:2004.11362, their L_out) of given similarities.

        mean over samples a, and over samples p of a's class but a, of - log [ exp S_ap / sum over b != a of exp S_ab ]

    Samples without another one of their class are left out of the mean; it is 0 without any other.

    Args:
        similarity: S (B, B) of each sample to all, divided by the temperature.
        labels: classes (B,).

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> similarity = losses.unit_similarity(vectors, vectors) / 0.1
        >>> losses.supervised_contrast(similarity, torch.tensor([0, 0, 1, 1])) < 0.001  # those of a class are alike
        tensor(True)
        >>> losses.supervised_contrast(similarity, torch.tensor([0, 1, 0, 1])) > 9
        tensor(True)
    """
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels) & ~own
    log_probability = similarity - similarity.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True)
    counts = positive.sum(1)
    per_sample = -torch.where(positive, log_probability, 0.0).sum(1) / counts.clamp_min(1)
    return per_sample.sum() / (counts > 0).sum().clamp_min(1)


@full_precision
def unit_similarity(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine similarities (B, B') of vectors (B, D) and (B', D).

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> losses.unit_similarity(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor([[1., 0.]])
    """
    return unit(one) @ unit(other).mT
