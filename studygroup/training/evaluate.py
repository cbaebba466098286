"""Scores of members: accuracy, cross-entropy, ensemble, and diversity; and their predictions, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from studygroup.data import Split, Transform, evaluation_batches, reading_order
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.runs.evaluation import Outcomes
from studygroup.runs.member import ENSEMBLE

Logits = Callable[[Tensor], dict[str, Tensor]]
Predicted = dict[str, Tensor]
"""Member, or `ensemble` -> the most probable class of each sample of a batch."""


@dataclass(frozen=True)
class Scores:
    """Scores on one data set.

    Attributes:
        accuracy: by member, and `ensemble` if there are several students, in [0, 1].
        cross_entropy: the same, in nats.
        diversity: mean over samples and pairs of students of the Euclidean distance between their predicted distributions, in
            [0, sqrt 2] (CGL, Table 6; temperature 1); None if there are fewer than two students.
        disagreement: mean over pairs of students of the fraction of samples that they assign to different classes; None likewise.
        samples: number of samples.
    """

    accuracy: dict[str, float]
    cross_entropy: dict[str, float]
    diversity: float | None
    disagreement: float | None
    samples: int


def diversity(probabilities: Tensor) -> Tensor:
    """Return the mean distance (B,) over the pairs of K >= 2 students' distributions (K, B, C)."""
    students = len(probabilities)
    first, second = torch.triu_indices(students, students, offset=1)
    distances: Tensor = torch.linalg.vector_norm(probabilities[first] - probabilities[second], dim=-1)
    return distances.mean(0)


def disagreement(probabilities: Tensor) -> Tensor:
    """Return the fraction (B,) of the pairs of K >= 2 students' distributions (K, B, C) whose most probable classes differ."""
    students = len(probabilities)
    first, second = torch.triu_indices(students, students, offset=1)
    predicted = probabilities.argmax(-1)
    return (predicted[first] != predicted[second]).float().mean(0)


def log_mean(probabilities: Tensor) -> Tensor:
    """Return the logarithm (B, C) of the mean over K students' distributions (K, B, C)."""
    return probabilities.mean(0).clamp_min(torch.finfo(torch.float32).tiny).log()


@torch.no_grad()
def collect(logits: Logits, students: Sequence[str], split: Split, transform: Transform, batch_size: int) -> dict[str, Outcomes]:
    """Return the predictions of members, and of the ensemble of the students if there are several, in the order of the samples.

    Args:
        logits: inputs (B, ...) -> logits (B, C) by member, in eval mode.
        students: the members whose predicted distributions are averaged into the ensemble.
        split: the samples.
        transform: converts them to network inputs.
        batch_size: number of samples that are classified at once.
    """
    found: dict[str, list[tuple[Tensor, ...]]] = {}
    for inputs, labels in evaluation_batches(split, transform, batch_size):
        logs = {name: F.log_softmax(z.float(), -1) for name, z in logits(inputs).items()}
        if len(students) > 1:
            logs[ENSEMBLE] = log_mean(torch.stack([logs[name].exp() for name in students]))
        for name, values in logs.items():
            best, predicted = values.max(-1)
            true = values.gather(1, labels[:, None])
            columns = labels, predicted, best.exp(), true[:, 0], (values > true).sum(-1)
            found.setdefault(name, []).append(tuple(column.cpu() for column in columns))
    order = torch.from_numpy(reading_order(split)).argsort()
    result = {}
    for name, batches in found.items():
        labels, predicted, probability, true, rank = (torch.cat(column)[order] for column in zip(*batches, strict=True))
        result[name] = Outcomes(labels.numpy(), predicted.numpy(), probability.double().numpy(), true.double().numpy(), rank.numpy())
    return result


@torch.no_grad()
def score(
    logits: Logits,
    students: Sequence[str],
    batches: Iterable[tuple[Tensor, Tensor]],
    ranks: DistContext = SINGLE_PROCESS,
    record: Callable[[Predicted], None] = lambda _: None,
) -> Scores:
    """Score members on a data set.

    Args:
        logits: inputs (B, ...) -> logits (B, C) by member, in eval mode.
        students: the members whose predicted distributions are averaged into the ensemble.
        batches: inputs and labels (B,); on several ranks, those of this rank.
        ranks: the processes that have the other batches.
        record: called with the predictions for each batch of this rank.
    """
    correct: dict[str, Tensor] = {}
    cross_entropy: dict[str, Tensor] = {}
    distance, differing = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    samples = 0
    for inputs, labels in batches:
        logits_of = {name: z.float() for name, z in logits(inputs).items()}
        log_probabilities = {name: F.log_softmax(z, -1) for name, z in logits_of.items()}
        if len(students) > 1:
            probabilities = torch.stack([log_probabilities[name].exp() for name in students])  # (K, B, C)
            log_probabilities[ENSEMBLE] = log_mean(probabilities)
            distance = distance + diversity(probabilities).sum().double().cpu()
            differing = differing + disagreement(probabilities).sum().double().cpu()
        predicted: Predicted = {}
        for name, values in log_probabilities.items():
            predicted[name] = values.argmax(-1)
            right, nats = (predicted[name] == labels).sum(), F.nll_loss(values, labels, reduction="sum")
            correct[name] = correct.get(name, torch.zeros((), device=labels.device)) + right
            cross_entropy[name] = cross_entropy.get(name, torch.zeros((), device=labels.device)) + nats
        samples += len(labels)
        record(predicted)
    gathered = ranks.all_gather_object(
        {
            "correct": {name: float(total) for name, total in correct.items()},
            "cross_entropy": {name: float(total) for name, total in cross_entropy.items()},
            "distance": {"all": float(distance)},
            "differing": {"all": float(differing)},
            "samples": {"all": float(samples)},
        }
    )
    sums: dict[str, dict[str, float]] = {}
    for own in gathered:
        for kind, numbers in own.items():
            for name, value in numbers.items():
                sums.setdefault(kind, {})[name] = sums.get(kind, {}).get(name, 0.0) + value
    total = sums["samples"]["all"]
    return Scores(
        {name: value / total for name, value in sums["correct"].items()},
        {name: value / total for name, value in sums["cross_entropy"].items()},
        sums["distance"]["all"] / total if len(students) > 1 else None,
        sums["differing"]["all"] / total if len(students) > 1 else None,
        round(total),
    )


def in_reading_order(batches: Sequence[Predicted], split: Split, ranks: DistContext = SINGLE_PROCESS) -> dict[str, NDArray[np.int64]]:
    """Return what `score` recorded as the predicted classes (N,) of each member, in the order of the samples.

    Args:
        batches: that this rank recorded; rank r has batches r, r + R, ...
        split: the N samples.
        ranks: the processes that have the other batches.
    """
    gathered = ranks.all_gather_object([{name: found.tolist() for name, found in batch.items()} for batch in batches])
    ordered = [gathered[number % len(gathered)][number // len(gathered)] for number in range(sum(map(len, gathered)))]
    order = torch.from_numpy(reading_order(split)).argsort()
    labels = {name: [label for batch in ordered for label in batch[name]] for name in (ordered[0] if ordered else ())}
    return {name: torch.tensor(found, dtype=torch.int64)[order].numpy() for name, found in labels.items()}
