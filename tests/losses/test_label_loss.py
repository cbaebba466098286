"""Label smoothing and class weights, against a loop over samples and classes, and in the losses of every method."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from studygroup.batch import LabelLoss, LabelMix, LabelTargets
from studygroup.clock import Clock
from studygroup.losses import cross_entropy, per_sample_cross_entropy
from studygroup.methods import METHODS
from tests.methods.tiny import CLASSES, SAMPLES, batch_for, built_method

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 3.0])
LABELS, SECOND = torch.tensor([0, 3, 1, 1, 2]), torch.tensor([1, 0, 1, 2, 3])
LOGITS = torch.randn(5, CLASSES, generator=torch.Generator().manual_seed(0))


def loop(smoothing: float, weights: list[float], labels: torch.Tensor) -> list[float]:
    found = []
    for row, label in zip(LOGITS.tolist(), labels.tolist(), strict=True):
        logs = [value - math.log(sum(math.exp(other) for other in row)) for value in row]
        target = [(1 - smoothing) * (c == label) + smoothing / CLASSES for c in range(CLASSES)]
        found.append(-weights[label] * sum(p * log for p, log in zip(target, logs, strict=True)))
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_a_loop(smoothing: float, weighted: bool) -> None:
    loss = LabelLoss(smoothing, WEIGHTS if weighted else None)
    weights = WEIGHTS.tolist() if weighted else [1.0] * CLASSES
    expected = loop(smoothing, weights, LABELS)
    targets = LabelTargets(LABELS, loss=loss)
    torch.testing.assert_close(per_sample_cross_entropy(LOGITS, targets), torch.tensor(expected))
    torch.testing.assert_close(cross_entropy(LOGITS, targets), torch.tensor(sum(expected) / 5))
    share = torch.tensor([0.5, 0.9, 1.0, 0.7, 0.6])
    mixed = replace(targets, mix=LabelMix(SECOND, share))
    both = zip(share.tolist(), expected, loop(smoothing, weights, SECOND), strict=True)
    torch.testing.assert_close(per_sample_cross_entropy(LOGITS, mixed), torch.tensor([w * a + (1 - w) * b for w, a, b in both]))


def test_parts_of_a_batch_keep_it() -> None:
    batch = replace(batch_for(built_method("cgl", {"students": 3})), loss=LabelLoss(0.3, WEIGHTS))
    assert all(own.targets.loss is batch.loss for own in batch.per_student(3))
    assert all(part.loss is batch.loss for part in batch.split(2))
    targets = batch.targets
    assert LabelTargets.cat(targets.split([5, SAMPLES - 5])).loss is batch.loss


@pytest.mark.parametrize("name", sorted(METHODS))
def test_it_enters_the_loss_of_labels_of_every_method_and_no_other_loss(name: str) -> None:
    special: dict[str, dict[str, Any]] = {
        "cgl": {"students": 3},
        "takd": {"assistants": ["tiny"]},
        "dgkd": {"assistants": ["tiny"]},
        "orc": {"alpha": 0.5},
    }
    plain, smoothed = built_method(name, special.get(name)), built_method(name, special.get(name))
    batch, clock = batch_for(plain), Clock(epoch=1, epochs=4, steps=2)
    updates = []
    for method, given in ((plain, batch), (smoothed, replace(batch, loss=LabelLoss(0.2)))):
        torch.manual_seed(0)
        updates.append(next(method.step(given, clock)))
    assert updates[0].keys() == updates[1].keys()
    of_labels = {key for key in updates[0] if key.endswith(("/cross_entropy", "/gated", "/intensive"))}
    assert of_labels
    for key in updates[0]:
        assert torch.equal(updates[0][key], updates[1][key]) == (key not in of_labels), key
