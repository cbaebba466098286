"""PS-KD: targets against a loop over epochs, the weight of its own predictions, and the memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from studygroup.clock import Clock
from studygroup.methods import PSKD
from tests.methods.tiny import CLASSES, SAMPLES, batch_for, built_method, optimizer_of, updates


def pskd(**options: float) -> PSKD:
    method = built_method("ps_kd", options)
    assert isinstance(method, PSKD)
    return method


def test_losses_against_the_paper_over_epochs() -> None:
    """CE with (1 - a) y + a p, p the prediction of the epoch before, here of a network that learns."""
    method = pskd(alpha=0.6)
    optimizer = optimizer_of(method)
    labels = torch.arange(SAMPLES) % CLASSES  # those that the factory gives
    past = F.one_hot(labels, CLASSES).float()
    for epoch in range(3):
        batch = batch_for(method, epoch)
        batch = type(batch)(batch.inputs, labels, batch.indices)
        weight = 0.6 * (epoch + 1) / 3
        with torch.no_grad():
            predicted = method.group[0](batch.inputs).softmax(-1)
        for losses in updates(method, optimizer, batch, Clock(epoch, 3)):
            target = (1 - weight) * F.one_hot(labels, CLASSES) + weight * past
            expected = -(target * predicted.log()).sum(-1).mean()
            torch.testing.assert_close(torch.stack(list(losses.values())).sum().detach(), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(method.predictions, predicted, rtol=1e-4, atol=1e-5)
        past = predicted


def test_in_the_first_epoch_it_is_the_cross_entropy() -> None:
    method = pskd()
    batch = batch_for(method)
    batch = type(batch)(batch.inputs, torch.arange(SAMPLES) % CLASSES, batch.indices)
    (losses,) = method.step(batch, Clock(0, 2))
    total = losses["student0/cross_entropy"] + losses["student0/imitation"]
    torch.testing.assert_close(total, losses["student0/cross_entropy"] / (1 - 0.4))


def test_only_the_samples_of_a_batch_are_remembered() -> None:
    method = pskd()
    before = method.predictions.clone()
    chosen = torch.tensor([7, 2])
    whole = batch_for(method)
    list(method.step(whole.take(chosen), Clock()))
    changed = (method.predictions != before).any(1)
    assert changed.nonzero().flatten().tolist() == [2, 7]
    torch.testing.assert_close(method.predictions.sum(1), torch.ones(SAMPLES))


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.2), (1, 0.4), (3, 0.8)])
def test_the_weight_of_its_own_predictions_grows(epoch: int, weight: float) -> None:
    method = pskd()
    (losses,) = method.step(batch_for(method), Clock(epoch, 4))
    (other,) = pskd(alpha=0.0).step(batch_for(method), Clock(epoch, 4))
    torch.testing.assert_close(losses["student0/cross_entropy"], (1 - weight) * other["student0/cross_entropy"])
    assert float(other["student0/imitation"].detach()) == 0.0
