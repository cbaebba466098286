"""Comparisons of a student's logits (B, C) with a teacher's beside `soft_kl`, with the reductions and constants of their authors' code.

All are computed in float32 or float64; gradient flows to the teacher's logits, too, unless they are detached. Each is 0 for equal logits,
and ignores a constant added to all logits of a sample, as softmax does.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses.logits import Reduction, check_pair, reduce, soft_kl
from studygroup.losses.numerics import full_precision, unit


@full_precision
def standardized_kl(
    student: Tensor, teacher: Tensor, temperature: float = 2.0, *, scale: bool = True, reduction: Reduction = "batchmean"
) -> Tensor:
    """Compute T^2 KL of logits that are standardised per sample (Sun et al., CVPR 2024, arXiv:2403.01427): `soft_kl` of their z-scores.

        (z - mean) / (standard deviation + 1e-7)

    over the classes, with C - 1 in the denominator of the variance. The student's logits need not be as large as the teacher's. Where all
    logits of a sample are equal, their z-scores are 0, without gradient.

    Args:
        student: logits (B, C).
        teacher: logits (B, C): the reference distribution.
        temperature: T > 0.
        scale: multiply by T^2.
        reduction: as for `soft_kl`.

    Raises:
        UserError: as for `soft_kl`.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> teacher = torch.tensor([[2.0, 0.0, -2.0]])
        >>> losses.standardized_kl(teacher / 10, teacher) < 1e-6  # the size of the logits does not count
        tensor(True)
    """
    check_pair(student, teacher, temperature)
    return soft_kl(_z_scores(student), _z_scores(teacher), temperature, scale=scale, reduction=reduction)


def _z_scores(logits: Tensor) -> Tensor:
    root = math.sqrt(max(logits.shape[-1] - 1, 1))  # a norm divided by it is the standard deviation
    return root * unit(logits - logits.mean(-1, keepdim=True), floor=0.0, offset=1e-7 * root)


@full_precision
def decoupled_kl(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    *,
    scale: bool = True,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """Compute the decoupled divergence of DKD (Zhao et al., CVPR 2022, arXiv:2203.08679): T^2 (alpha TCKD + beta NCKD).

    TCKD is the KL divergence between the distributions (p_y, 1 - p_y) of label or not, NCKD that between the distributions over the other
    classes, given that it is one of them. KL = TCKD + (1 - p_y of the teacher) NCKD; here the weight of the other classes does not fall
    with the teacher's confidence.

    Args:
        student: logits (B, C), C >= 2.
        teacher: logits (B, C): the reference distribution.
        labels: classes (B,).
        alpha: weight of TCKD.
        beta: weight of NCKD.
        temperature: T > 0.
        scale: multiply by T^2.
        reduction: as for `soft_kl`.

    Raises:
        UserError: as for `soft_kl`; there are other labels than samples, or fewer than two classes.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> student, teacher = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[3.0, 0.0, 1.0]])
        >>> losses.decoupled_kl(student, teacher, torch.tensor([0]))
        tensor(3.9793)
        >>> losses.decoupled_kl(student, teacher, torch.tensor([0]), beta=0.0)  # both are as sure of the label
        tensor(0.)
    """
    check_pair(student, teacher, temperature)
    if student.ndim != 2 or student.shape[1] < 2 or labels.shape != student.shape[:1]:
        raise UserError(
            f"logits are {tuple(student.shape)}, labels {tuple(labels.shape)}; logits must be (B, C) of at least 2 classes, labels (B,)"
        )
    target, others = _decoupled(student / temperature, labels)
    teacher_target, teacher_others = _decoupled(teacher / temperature, labels)
    divergence = alpha * _kl(target, teacher_target) + beta * _kl(others, teacher_others)
    return reduce(divergence * temperature**2 if scale else divergence, reduction, student.shape[-1])


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of (p_y, 1 - p_y), (B, 2), and of the probabilities of the other classes given that it is one, (B, C - 1)."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, columns + (columns >= labels[:, None]).long())  # (B, C - 1)
    binary = torch.stack([logits.gather(1, labels[:, None])[:, 0], others.logsumexp(1)], dim=1)
    return F.log_softmax(binary, dim=1), F.log_softmax(others, dim=1)


def _kl(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return (log_teacher.exp() * (log_teacher - log_student)).sum(-1)


@full_precision
def dist(
    student: Tensor, teacher: Tensor, beta: float = 2.0, gamma: float = 2.0, temperature: float = 4.0, *, scale: bool = True
) -> Tensor:
    """Compute DIST (Huang et al., NeurIPS 2022, arXiv:2205.10536): T^2 (beta inter + gamma intra), from Pearson correlations r.

        inter = 1 - mean over samples of r(p_s, p_t) over the classes
        intra = 1 - mean over classes of r(p_s, p_t) over the samples of the batch

    p = softmax(z / T); r has 1e-8 added to its denominator, so it is 0 where a network's values are all equal, as in a batch of one sample.
    The authors' code for ImageNet has T = 1, so no T^2. A batch must not be split, for its loss is not the mean of those of its parts.

    Args:
        student: logits (B, C) of a whole batch.
        teacher: logits (B, C).
        beta: weight of the relations between classes.
        gamma: weight of the relations between samples.
        temperature: T > 0.
        scale: multiply by T^2.

    Raises:
        UserError: the shapes differ, or the temperature is not positive.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> teacher = torch.tensor([[3.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
        >>> losses.dist(teacher.flip(1), teacher)
        tensor(16.4696)
    """
    check_pair(student, teacher, temperature)
    p, q = F.softmax(student / temperature, dim=-1), F.softmax(teacher / temperature, dim=-1)
    loss = beta * (1 - _pearson(p, q).mean()) + gamma * (1 - _pearson(p.mT, q.mT).mean())
    return loss * temperature**2 if scale else loss


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    """Return the correlation of each pair of rows, (N,)."""
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(one, dim=1) * torch.linalg.vector_norm(other, dim=1)
    return (one * other).sum(1) / (norms + 1e-8)


@full_precision
def logit_mse(student: Tensor, teacher: Tensor, *, reduction: Reduction = "elementwise_mean") -> Tensor:
    """Compute the squared error of logits, each sample's mean over the classes subtracted, which softmax ignores; there is no temperature.

    It is twice the limit of `soft_kl` for large T. Kim et al. (IJCAI 2021, arXiv:2105.08919) compare logits as they are; targets here may
    have an arbitrary mean, such as the logarithms of averaged probabilities.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        reduction: `"elementwise_mean"`: mean over samples and classes. `"none"`: mean over classes, one value per sample.

    Raises:
        UserError: the shapes differ.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> losses.logit_mse(torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 6.0]]))  # softmax ignores the difference
        tensor(0.)
    """
    check_pair(student, teacher, 1.0)
    difference = student - teacher
    errors = (difference - difference.mean(-1, keepdim=True)).square().mean(-1)
    return errors if reduction == "none" else errors.mean()
