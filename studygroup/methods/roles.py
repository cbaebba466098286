"""Roles in ORC, which last one batch and depend on the students' errors (Choi, Cho, Jeong and Hwang, 2022).

    i*    = argmin of the students' mean cross-entropies                         who is promoted, Eq. 7
    omega = softmax of the students' mean cross-entropies, D_i = omega_i B       how much each feeds back, Eq. 4-6

Departures: D is rounded by largest remainder, so that it sums to B; a sample may be fed back by several students (the
paper's 1:N mapping).
Shapes: B batch, n students.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.errors import TrainingError
from studygroup.losses import per_sample_cross_entropy


def best_first(errors: Tensor, sizes: Sequence[int] | None = None) -> list[int]:
    """Sort students by mean error, best first, ties to the lower number.

    Args:
        errors: (n, B) cross-entropy of each student on each sample.
        sizes: sort by these instead, the largest first.

    Raises:
        TrainingError: a student's error is not finite.
    """
    means: list[float] = errors.mean(1).tolist()  # one transfer from the device, not n
    bad = [k for k, mean in enumerate(means) if not math.isfinite(mean)]
    if bad:
        raise TrainingError(f"the cross-entropy of student{bad[0]} is {means[bad[0]]}; a lower learning rate or clipping may help")
    ranks = means if sizes is None else [-float(size) for size in sizes]
    return sorted(range(len(means)), key=lambda k: (ranks[k], k))


def assign_roles(
    logits: Sequence[Tensor], batch: Batch, promoted: int, sizes: Sequence[int] | None = None
) -> tuple[list[int], list[int], Tensor]:
    """Return the temporary teachers, the other students, and all errors (n, B) on the whole batch (Eq. 7).

    Args:
        logits: n x (b, C) on this rank's samples.
        batch: the samples; roles are the same on every rank.
        promoted: number of temporary teachers.
        sizes: promote the largest, not the best.
    """
    own_errors = torch.stack([per_sample_cross_entropy(z.detach(), batch.targets) for z in logits], 1)
    errors = batch.all_gather(own_errors).T
    ranking = best_first(errors, sizes)
    return ranking[:promoted], sorted(ranking[promoted:]), errors


def quotas(losses: Tensor, batch: int) -> list[int]:
    """Return D_i, how many of `batch` samples each student feeds back, given their mean losses (n,) (Eq. 4-6).

    The softmax is rounded by largest remainder (ties to the lower number), so that the D_i sum to `batch`.
    """
    exact = torch.softmax(losses.double(), 0) * batch
    whole = exact.floor().to(torch.int64)
    left = batch - int(whole.sum())
    # Rounded, because equal losses must give equal remainders for the tie rule to hold.
    order = torch.sort(((exact - whole) * 1e9).round(), descending=True, stable=True).indices
    whole[order[:left]] += 1
    return whole.tolist()


def feedback(errors: Tensor, generator: torch.Generator) -> Tensor:
    """Return positions (B,) of the samples that the students feed back, shuffled: the worst D_i of each; samples may repeat.

    Args:
        errors: (n, B) cross-entropy of each student on each sample.
        generator: CPU generator.
    """
    chosen = [
        torch.sort(own, descending=True, stable=True).indices[:quota]
        for own, quota in zip(errors, quotas(errors.mean(1).cpu(), errors.shape[1]), strict=True)
    ]
    joined = torch.cat(chosen)
    return joined[torch.randperm(len(joined), generator=generator).to(joined.device)]


def role_metrics(promoted: Collection[int], errors: Tensor, fed: Tensor | None) -> dict[str, Tensor | float]:
    """Return who is promoted in a step, and what the pivot is fed.

    Args:
        promoted: the temporary teachers.
        errors: (n, B) cross-entropy of each student on each sample.
        fed: positions (B,) of the samples that students feed back; None if they feed back none.

    Returns:
        `studentK/promoted`, 0 or 1. If samples are fed back: `studentK/fed`, the fraction of them that is the student's;
        `feedback/distinct`, the number of different samples divided by B; and the students' mean cross-entropy on the samples that are
        fed back, `feedback/cross_entropy`, and on the whole batch, `batch/cross_entropy`.
    """
    students, batch = errors.shape
    found: dict[str, Tensor | float] = {f"student{k}/promoted": float(k in promoted) for k in range(students)}
    if fed is not None:
        found |= {f"student{k}/fed": quota / batch for k, quota in enumerate(quotas(errors.mean(1).cpu(), batch))}
        found["feedback/distinct"] = torch.zeros_like(errors[0]).index_fill(0, fed, 1.0).mean()
        found["feedback/cross_entropy"] = errors[:, fed].mean()
        found["batch/cross_entropy"] = errors.mean()
    return found
