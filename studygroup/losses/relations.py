"""Losses on relations: how the samples of a batch lie to one another, in a student's features as in a teacher's.

Student (B, ...) and teacher (B, ...) are flattened to one vector per sample; their lengths may differ except where it is said.
A loss of B samples is not a mean of losses of parts of the batch, so a batch must not be split. Reductions and constants are those of
the CRD benchmark's code (Tian et al., ICLR 2020, arXiv:1910.10699). All losses are scalars, computed in float32 at least; gradient
reaches the teacher's side, too, unless it is detached.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses.numerics import full_precision, unit


def _vectors(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both as vectors (B, D_s) and (B, D_t) of the same B >= 2 samples."""
    if student.ndim < 2 or teacher.ndim < 2 or len(student) != len(teacher):
        raise UserError(
            f"the student's features are {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}; "
            "both must be (B, ...) of the same samples"
        )
    if len(student) < 2:
        raise UserError(f"a batch of {len(student)} has no relations between samples; take batches of at least 2")
    return student.flatten(1), teacher.flatten(1)


@full_precision
def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving distillation (Tung and Mori, ICCV 2019, arXiv:1907.09682, Eq. 4).

        sum of (N_s - N_t)^2 / B^2,  N = the Gram matrix F F^T (B, B) with rows of unit length

    Args:
        student: (B, ...), any shape.
        teacher: (B, ...), any shape.

    Raises:
        UserError: other samples, or fewer than two.
    """
    student, teacher = (unit(features @ features.mT) for features in _vectors(student, teacher))  # (B, B)
    return F.mse_loss(student, teacher)


@full_precision
def correlation_congruence(student: Tensor, teacher: Tensor) -> Tensor:
    """Correlation congruence (Peng et al., ICCV 2019, arXiv:1904.01802), in the form that the CRD benchmark has from its author.

        mean over i = 1 .. B-1 of sum over dimensions of d_i d_(i+1),  d = |s - t|

    The paper compares matrices of all pairs of samples; this code multiplies the errors of neighbours in the batch.

    Args:
        student: embeddings (B, D).
        teacher: embeddings (B, D).

    Raises:
        UserError: shapes that differ, or fewer than two samples.
    """
    student, teacher = _vectors(student, teacher)
    if student.shape != teacher.shape:
        raise UserError(
            f"the student's vectors have {student.shape[1]} dimensions, the teacher's {teacher.shape[1]}; embed both in as many"
        )
    errors = (student - teacher).abs()
    return (errors[:-1] * errors[1:]).sum(1).mean()


@full_precision
def probabilistic_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv:1803.10837), with cosine similarities.

        mean over (B, B) of t log((t + e) / (s + e)),  s, t = (1 + cosine) / 2 with rows that sum to 1,  e = 1e-7

    Vectors are divided by their norm + e. The sum over a row is a divergence; the mean, which is 1/B of it, is the authors' code's.

    Args:
        student: (B, D_s).
        teacher: (B, D_t).

    Raises:
        UserError: other samples, or fewer than two.
    """
    student, teacher = (_neighbours(features) for features in _vectors(student, teacher))
    return (teacher * ((teacher + 1e-7) / (student + 1e-7)).log()).mean()


def _neighbours(features: Tensor) -> Tensor:
    """How probable each sample is as a neighbour of each: (B, B), rows sum to 1."""
    directions = unit(features, floor=0.0, offset=1e-7)
    similarity = ((directions @ directions.mT + 1) / 2).clamp_min(0)  # rounding makes opposite vectors' slightly negative
    return similarity / similarity.sum(1, keepdim=True)


@full_precision
def relational(student: Tensor, teacher: Tensor, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Relational knowledge distillation (Park et al., CVPR 2019, arXiv:1904.05068).

        distance_weight * mean over (B, B) of h(p_s - p_t) + angle_weight * mean over (B, B, B) of h(c_s - c_t)

    p_ij is the distance of samples i and j by the mean distance of two samples, c_ijk the cosine of the angle at i between j and k,
    and h is Huber's loss (x^2 / 2 up to |x| = 1, |x| - 1/2 beyond). Means are over all pairs and triplets, those that repeat a
    sample included. Distances of two samples count as at least 1e-6, as in the authors' code; the angles of samples in the same
    place are 0 and have no gradient. Memory: (B, B, D) and (B, B, B).

    Args:
        student: (B, D_s).
        teacher: (B, D_t).
        distance_weight: of the distances.
        angle_weight: of the angles.

    Raises:
        UserError: other samples, or fewer than two.
    """
    student, teacher = _vectors(student, teacher)
    (student_distances, student_angles), (teacher_distances, teacher_angles) = _structure(student), _structure(teacher)
    distance = F.smooth_l1_loss(student_distances, teacher_distances)
    return distance_weight * distance + angle_weight * F.smooth_l1_loss(student_angles, teacher_angles)


def _structure(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (B, B) by their mean, and cosines (B, B, B) of the angles at the first sample."""
    differences = vectors[None] - vectors[:, None]  # (B, B, D)
    others = 1 - torch.eye(len(vectors), device=vectors.device, dtype=vectors.dtype)
    distances = differences.square().sum(-1).clamp_min(1e-12).sqrt() * others
    directions = unit(differences)
    return distances / (distances.sum() / others.sum()), directions @ directions.mT
