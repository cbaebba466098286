"""How good members are: accuracy, cross-entropy, their ensemble, and how much they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.distributed.context import SINGLE_PROCESS, DistContext

Logits = Callable[[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Scores:
    """Of one data set.

    Attributes:
        accuracy: by member, and `ensemble`, in [0, 1].
        cross_entropy: by member, and `ensemble`, in nats.
        diversity: mean over samples and pairs of students of the Euclidean distance between their predicted distributions, in
            [0, sqrt 2] (CGL, Table 6; temperature 1); None if there are fewer than two students.
        samples: how many samples.
    """

    accuracy: dict[str, float]
    cross_entropy: dict[str, float]
    diversity: float | None
    samples: int


def diversity(probabilities: Tensor) -> Tensor:
    """Mean distance (B,) over the pairs of K >= 2 students' distributions (K, B, C)."""
    students = len(probabilities)
    first, second = torch.triu_indices(students, students, offset=1)
    distances: Tensor = torch.linalg.vector_norm(probabilities[first] - probabilities[second], dim=-1)
    return distances.mean(0)


@torch.no_grad()
def score(logits: Logits, students: Sequence[str], batches: Iterable[tuple[Tensor, Tensor]], ranks: DistContext = SINGLE_PROCESS) -> Scores:
    """Score members on a data set.

    Args:
        logits: inputs (B, ...) -> logits (B, C) by member, in eval mode.
        students: the members whose predicted distributions are averaged into the ensemble.
        batches: inputs and labels (B,); on several ranks, this one's.
        ranks: who has the other batches.
    """
    correct: dict[str, Tensor] = {}
    nats: dict[str, Tensor] = {}
    apart = torch.zeros((), dtype=torch.float64)
    samples = 0
    for inputs, labels in batches:
        found = {name: z.float() for name, z in logits(inputs).items()}
        log_probabilities = {name: F.log_softmax(z, -1) for name, z in found.items()}
        probabilities = torch.stack([log_probabilities[name].exp() for name in students])  # (K, B, C)
        log_probabilities["ensemble"] = probabilities.mean(0).clamp_min(torch.finfo(torch.float32).tiny).log()
        for name, values in log_probabilities.items():
            correct[name] = correct.get(name, torch.zeros((), device=labels.device)) + (values.argmax(-1) == labels).sum()
            nats[name] = nats.get(name, torch.zeros((), device=labels.device)) + F.nll_loss(values, labels, reduction="sum")
        if len(students) > 1:
            apart = apart + diversity(probabilities).sum().double().cpu()
        samples += len(labels)
    every = ranks.all_gather_object(
        {
            "correct": {name: float(total) for name, total in correct.items()},
            "nats": {name: float(total) for name, total in nats.items()},
            "apart": {"all": float(apart)},
            "samples": {"all": float(samples)},
        }
    )
    sums: dict[str, dict[str, float]] = {}
    for mine in every:
        for kind, numbers in mine.items():
            for name, value in numbers.items():
                sums.setdefault(kind, {})[name] = sums.get(kind, {}).get(name, 0.0) + value
    total = sums["samples"]["all"]
    return Scores(
        {name: value / total for name, value in sums["correct"].items()},
        {name: value / total for name, value in sums["nats"].items()},
        sums["apart"]["all"] / total if len(students) > 1 else None,
        round(total),
    )
