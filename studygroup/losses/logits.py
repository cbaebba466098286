"""Losses on logits (B, C); half-precision logits are converted to float32 before any softmax."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import LabelLoss, LabelTargets
from studygroup.errors import UserError
from studygroup.losses.numerics import as_float32

Reduction = Literal["batchmean", "elementwise_mean", "none"]


def cross_entropy(logits: Tensor, targets: Tensor | LabelTargets) -> Tensor:
    """Compute the mean cross-entropy of logits (B, C) with targets, in nats, at temperature 1; see `per_sample_cross_entropy`.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> losses.cross_entropy(logits, torch.tensor([0, 1]))
        tensor(0.1269)
    """
    return per_sample_cross_entropy(logits, targets).mean()  # bitwise equal to the mean of the per-sample losses


def per_sample_cross_entropy(logits: Tensor, targets: Tensor | LabelTargets) -> Tensor:
    """Compute the cross-entropy (B,) of each sample, in nats.

    Of a mixed sample it is w CE(z, y) + (1 - w) CE(z, y') with its two classes and the weight of the first (Zhang et al., ICLR 2018,
    arXiv:1710.09412): the cross-entropy with the mixed label.
    With smoothing E (Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7), CE(z, y) = -(1 - E) log p_y - E / C sum_c log p_c; with
    class weights, it is multiplied by that of y.
    Of a sample without a label it is 0, and the others' are such that the mean is that of the samples with labels.

    Args:
        logits: (B, C).
        targets: class indices (B,), or the targets of a batch.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> losses.per_sample_cross_entropy(logits, torch.tensor([0, 0]))
        tensor([0.1269, 2.1269])
    """
    if isinstance(targets, Tensor):
        targets = LabelTargets(targets)
    found = _class_cross_entropy(logits, targets.labels, targets.loss)
    if targets.mix is not None:
        share = targets.mix.share
        found = share * found + (1 - share) * _class_cross_entropy(logits, targets.mix.labels, targets.loss)
    return found if targets.weights is None else found * targets.weights


def _class_cross_entropy(logits: Tensor, labels: Tensor, loss: LabelLoss | None) -> Tensor:
    labels = labels.clamp_min(0)  # a missing one is -1, and has the weight 0
    if loss is None:
        return F.cross_entropy(as_float32(logits), labels, reduction="none")
    errors = F.cross_entropy(as_float32(logits), labels, reduction="none", label_smoothing=loss.smoothing)
    return errors if loss.class_weights is None else errors * loss.class_weights[labels]


def mixed_cross_entropy(logits: Tensor, targets: Tensor | LabelTargets, partners: Tensor | LabelTargets, share: float | Tensor) -> Tensor:
    """Compute the mixup loss (Zhang et al., ICLR 2018): share * CE(z, t) + (1 - share) * CE(z, partners), mean over the batch.

    Args:
        logits: (B, C) of the mixed inputs.
        targets: of the first inputs: classes (B,), or targets.
        partners: of the second inputs.
        share: weight lambda in [0, 1] of the first inputs, one for the batch or one per sample (B,).

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.zeros(1, 2)
        >>> losses.mixed_cross_entropy(logits, torch.tensor([0]), torch.tensor([1]), share=0.7)
        tensor(0.6931)
    """
    return (share * per_sample_cross_entropy(logits, targets) + (1 - share) * per_sample_cross_entropy(logits, partners)).mean()


def soft_kl(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 1.0,
    *,
    scale: bool = True,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """Compute T^2 KL(softmax(teacher / T) || softmax(student / T)), the distillation loss of Hinton et al. (2015, arXiv:1503.02531).

    Gradient flows to the teacher's logits, too, unless they are detached.

    Args:
        student: logits (B, C).
        teacher: logits (B, C): the reference distribution.
        temperature: T > 0.
        scale: multiply by T^2, so that the size of the gradient does not depend on T.
        reduction: `"batchmean"`: sum over classes, mean over the batch. `"elementwise_mean"`: mean over both, 1/C of the former, as in
            the published code of TAKD and DGKD. `"none"`: sum over classes, one value per sample.

    Returns:
        A scalar, or (B,) for `"none"`; at least 0.

    Raises:
        UserError: the shapes differ, the temperature is not positive, or the reduction is unknown.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> losses.soft_kl(student, teacher, temperature=4.0)
        tensor(0.4848)
        >>> losses.soft_kl(teacher, teacher)
        tensor(0.)
    """
    check_pair(student, teacher, temperature)
    log_student = F.log_softmax(as_float32(student) / temperature, dim=-1)
    log_teacher = F.log_softmax(as_float32(teacher) / temperature, dim=-1)
    divergence = reduce((log_teacher.exp() * (log_teacher - log_student)).sum(-1), reduction, student.shape[-1])
    return divergence * temperature**2 if scale else divergence


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the cross-entropy -sum_c p_t log p_s of softened predictions p = softmax(z / T), mean over the batch, without T^2.

    It is KL(p_t || p_s) plus the teacher's entropy, so the student's gradient is that of `soft_kl` with `scale=False`. Used by BSS (Heo
    et al., AAAI 2019, arXiv:1805.05532) at T = 3, CL-ILR (Song and Chai, NeurIPS 2018, arXiv:1805.11761) in its paper, and
    codistillation (Anil et al., ICLR 2018, arXiv:1804.03235) at T = 1. If the target is a distribution p, pass log p as logits.
    Gradient flows to the teacher's logits, too, unless they are detached.

    Args:
        student: logits (B, C).
        teacher: logits (B, C): the reference distribution.
        temperature: T > 0.

    Returns:
        A scalar, at least the teacher's mean entropy.

    Raises:
        UserError: the shapes differ, or the temperature is not positive.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> losses.soft_cross_entropy(student, teacher)
        tensor(0.6931)
    """
    check_pair(student, teacher, temperature)
    target = F.softmax(as_float32(teacher) / temperature, dim=-1)
    return -(target * F.log_softmax(as_float32(student) / temperature, dim=-1)).sum(-1).mean()


def check_pair(student: Tensor, teacher: Tensor, temperature: float) -> None:
    """Raise UserError unless both logits have one shape and the temperature is positive."""
    if student.shape != teacher.shape:
        raise UserError(
            f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)}; both must be (B, C) of the same classes"
        )
    if temperature <= 0:
        raise UserError(f"temperature is {temperature}; it must be positive")


def reduce(values: Tensor, reduction: Reduction, classes: int) -> Tensor:
    """Reduce divergences (B,), sums over classes, as `soft_kl` explains.

    Raises:
        UserError: the reduction is unknown.
    """
    if reduction not in ("batchmean", "elementwise_mean", "none"):
        raise UserError(f"reduction is {reduction!r}; it must be batchmean, elementwise_mean or none")
    if reduction == "none":
        return values
    return values.mean() / classes if reduction == "elementwise_mean" else values.mean()
