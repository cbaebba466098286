"""PCL: losses against the formula, temporal means against a loop, and views."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from studygroup.clock import Clock
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods import PCL
from studygroup.schedules import ramp
from tests.methods.tiny import batch_for, built_method, optimizer_of, snapshot, updates


def pcl(**options: Any) -> PCL:
    method = built_method("pcl", options)
    assert isinstance(method, PCL)
    return method


@pytest.mark.parametrize(("options", "epoch"), [
    ({}, 99), ({"students": 2, "temperature": 2.0, "ensemble_weight": 0.5, "mean_weight": 0.25}, 7), ({"views": False}, 0),
])  # fmt: skip
def test_losses_against_the_formula(options: dict[str, Any], epoch: int) -> None:
    method, twin = pcl(**options), pcl(**options)
    count, temperature = method.students, method.temperature
    optimizer = optimizer_of(method)
    list(updates(method, optimizer, batch_for(method, 1), Clock(0, 300, 40, 50)))  # so that means and branches differ
    twin.load_state_dict(method.state_dict())
    batch = batch_for(method)
    (losses,) = method.step(batch, Clock(epoch, 300))
    features = twin.group.own_features([twin.group.trunk(batch.view(k)) for k in range(count)])
    logits = twin.group.classify(features)
    means = [twin.means.branches[k](twin.means.trunk(batch.view(k))) for k in range(count)]
    fused = twin.fused(torch.cat(features, 1))
    phi = ramp(epoch, 0, 80)
    torch.testing.assert_close(losses["group/cross_entropy"], cross_entropy(fused, batch.labels))
    for k in range(count):
        own = logits[k]
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], cross_entropy(own, batch.labels))
        expected = phi * options.get("ensemble_weight", 1.0) * soft_kl(own, fused, temperature)
        torch.testing.assert_close(losses[f"student{k}/ensemble_imitation"], expected)
        others: list[Tensor] = [soft_kl(own, means[j], temperature) for j in range(count) if j != k]
        expected = phi * options.get("mean_weight", 1.0) * sum(others, torch.zeros(())) / (count - 1)
        torch.testing.assert_close(losses[f"student{k}/mean_imitation"], expected)


def test_temporal_means_against_a_loop() -> None:
    method = pcl(decay=0.6)
    optimizer = optimizer_of(method)
    expected: dict[str, Tensor] = {}
    for step in range(5):
        list(updates(method, optimizer, batch_for(method, step), Clock(step // 2, 3, step % 2, 2)))
        decay = min(0.6, 1 - 1 / (step + 1))
        for name, weight in method.group.named_parameters():
            old = expected.get(name, torch.zeros_like(weight))
            expected[name] = (decay * old + (1 - decay) * weight).detach().clone()
        for name, mean in method.means.named_parameters():
            torch.testing.assert_close(mean, expected[name])
            assert not mean.requires_grad


def test_each_branch_has_a_view_of_its_own() -> None:
    assert pcl(students=4).partition().views == 4
    assert pcl(views=False).partition().views == 1
    texts = built_method("pcl", texts=True)
    assert texts.partition().views == 1


def test_the_targets_get_no_gradient() -> None:
    method = pcl(students=2)
    (losses,) = method.step(batch_for(method), Clock())
    losses["student0/ensemble_imitation"].backward()
    assert all(p.grad is None for p in method.fused.parameters())
    assert all(p.grad is None for p in method.group.branches[1].parameters())
    assert any(p.grad is not None for p in method.group.branches[0].parameters())


def test_means_are_part_of_the_state_but_no_members() -> None:
    method = pcl(students=2)
    assert any(name.startswith("means.") for name in snapshot(method))
    assert method.members() == ("student0", "student1")
    assert not any(p in set(method.means.parameters()) for owned in method.parameter_sets().values() for p in owned)
