"""Relational losses: similarities between the samples of a batch in a student's and a teacher's features.

Features (B, ...) are flattened to one vector per sample; their lengths may differ unless noted. A batch must not be split, for its loss
is not the mean of the losses of its parts. Reductions and constants are those of the CRD benchmark's code (Tian et al., ICLR 2020,
arXiv:1910.10699). All losses are scalars, computed in float32 or float64; gradient flows to the teacher, too, unless it is detached.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses.numerics import full_precision, unit


def _vectors(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten both to (B, D_s) and (B, D_t), B >= 2."""
    if student.ndim < 2 or teacher.ndim < 2 or len(student) != len(teacher):
        raise UserError(
            f"the student's features are {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}; "
            "both must be (B, ...) of the same samples"
        )
    if len(student) < 2:
        raise UserError(f"a batch of {len(student)} has no pairs of samples; use batches of at least 2")
    return student.flatten(1), teacher.flatten(1)


@full_precision
def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the similarity-preserving loss (Tung and Mori, ICCV 2019, arXiv:1907.09682, Eq. 4).

        sum of (N_s - N_t)^2 / B^2,  N = the Gram matrix F F^T (B, B) with rows of unit length

    Args:
        student: (B, ...), any shape.
        teacher: (B, ...), any shape.

    Raises:
        UserError: the batches differ, or have fewer than two samples.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> losses.similarity_preserving(features, features.flip(1)) < 1e-6  # the samples are as similar as before
        tensor(True)
    """
    student, teacher = (unit(features @ features.mT) for features in _vectors(student, teacher))  # (B, B)
    return F.mse_loss(student, teacher)


@full_precision
def correlation_congruence(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute correlation congruence (Peng et al., ICCV 2019, arXiv:1904.01802), as in the CRD benchmark, from its author's code.

        mean over i = 1 .. B-1 of sum over dimensions of d_i d_(i+1),  d = |s - t|

    The paper compares matrices of all pairs of samples; this code multiplies the errors of neighbours in the batch.

    Args:
        student: embeddings (B, D).
        teacher: embeddings (B, D).

    Raises:
        UserError: the shapes differ, or there are fewer than two samples.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> losses.correlation_congruence(torch.zeros(3, 4), torch.ones(3, 4))
        tensor(4.)
    """
    student, teacher = _vectors(student, teacher)
    if student.shape != teacher.shape:
        raise UserError(
            f"the student's vectors have {student.shape[1]} dimensions, the teacher's {teacher.shape[1]}; embed both in the same number"
        )
    errors = (student - teacher).abs()
    return (errors[:-1] * errors[1:]).sum(1).mean()


@full_precision
def probabilistic_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv:1803.10837), with cosine similarities.

        mean over (B, B) of t log((t + e) / (s + e)),  s, t = (1 + cosine) / 2 with rows that sum to 1,  e = 1e-7

    Vectors are divided by their norm + e. The sum over a row is a KL divergence; the authors' code has the mean, 1/B of it.

    Args:
        student: (B, D_s).
        teacher: (B, D_t).

    Raises:
        UserError: the batches differ, or have fewer than two samples.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> losses.probabilistic_transfer(2 * features, features).abs() < 1e-6
        tensor(True)
    """
    student, teacher = (_neighbours(features) for features in _vectors(student, teacher))
    return (teacher * ((teacher + 1e-7) / (student + 1e-7)).log()).mean()


def _neighbours(features: Tensor) -> Tensor:
    """Return the probabilities of samples as neighbours of each sample: (B, B), rows sum to 1."""
    directions = unit(features, floor=0.0, offset=1e-7)
    similarity = ((directions @ directions.mT + 1) / 2).clamp_min(0)  # rounding errors can make it slightly negative
    return similarity / similarity.sum(1, keepdim=True)


@full_precision
def relational(student: Tensor, teacher: Tensor, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Compute relational knowledge distillation (Park et al., CVPR 2019, arXiv:1904.05068).

        distance_weight * mean over (B, B) of h(p_s - p_t) + angle_weight * mean over (B, B, B) of h(c_s - c_t)

    p_ij is the distance of samples i and j divided by the mean distance, c_ijk the cosine of the angle at i between j and k, and h the
    Huber loss (x^2 / 2 up to |x| = 1, |x| - 1/2 beyond). Means are over all pairs and triplets, including repeated samples. Distances
    are at least 1e-6, as in the authors' code; the angles of equal vectors are 0 and have no gradient. Memory: (B, B, D) and (B, B, B).

    Args:
        student: (B, D_s).
        teacher: (B, D_t).
        distance_weight: weight of the distances.
        angle_weight: weight of the angles.

    Raises:
        UserError: the batches differ, or have fewer than two samples.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> losses.relational(3 * features + 1, features) < 1e-6  # larger and moved: the same distances and angles
        tensor(True)
    """
    student, teacher = _vectors(student, teacher)
    (student_distances, student_angles), (teacher_distances, teacher_angles) = _structure(student), _structure(teacher)
    distance = F.smooth_l1_loss(student_distances, teacher_distances)
    return distance_weight * distance + angle_weight * F.smooth_l1_loss(student_angles, teacher_angles)


def _structure(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances (B, B) divided by their mean, and cosines (B, B, B) of the angles at the first sample."""
    differences = vectors[None] - vectors[:, None]  # (B, B, D)
    others = 1 - torch.eye(len(vectors), device=vectors.device, dtype=vectors.dtype)
    distances = differences.square().sum(-1).clamp_min(1e-12).sqrt() * others
    directions = unit(differences)
    return distances / (distances.sum() / others.sum()), directions @ directions.mT
