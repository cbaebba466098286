"""Separate networks in a group: one pass on own samples, one on those on which a network is imitated."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from studygroup.groups import Independent, predict_targets
from studygroup.networks import NetworkFactory
from tests.methods.tiny import CLASSES, images, snapshot, tiny, wider

SHARES = [4, 3, 0, 5]
IMITATED = [[2, 1, 3], [0], [0, 1], [2, 0]]


def group_of(students: int = 4, targets: str = "batch_stats") -> Independent:
    networks = [NetworkFactory((tiny, wider)[k % 2], num_classes=CLASSES, in_channels=1, seed=1).student(k) for k in range(students)]
    group = Independent(networks, targets=targets).double().train()  # type: ignore[arg-type]
    for k, network in enumerate(networks):
        network(images(5, seed=90 + k).double())  # running statistics to tell apart
    return group


def shares() -> list[Tensor]:
    return [images(max(size, 1), seed=k)[:size].double() for k, size in enumerate(SHARES)]


@pytest.mark.parametrize("targets", ["batch_stats", "eval", "train"])
@pytest.mark.parametrize("detach", [True, False])
def test_study_equals_a_loop_over_networks(targets: str, detach: bool) -> None:
    """Own samples separately; all samples on which a network is imitated as one batch."""
    group = group_of(targets=targets)
    reference = [copy.deepcopy(network) for network in group.networks]
    inputs = shares()
    own, taught = group.study(inputs, IMITATED, detach=detach)
    for k, network in enumerate(reference):
        if SHARES[k]:
            torch.testing.assert_close(own[k], network(inputs[k]))
        else:
            assert own[k].numel() == 0
    assert [len(logits) for logits in taught] == [3, 1, 0, 2]
    for j, network in enumerate(reference):
        pupils = [k for k in range(4) if SHARES[k] and j in IMITATED[k]]
        passing = network if targets == "train" else copy.deepcopy(network)
        passing.train(targets != "eval")
        logits = passing(torch.cat([inputs[k] for k in pupils])) if pupils else torch.zeros(0)
        for k, expected in zip(pupils, logits.split([SHARES[k] for k in pupils]), strict=True):
            found = taught[k][IMITATED[k].index(j)]
            torch.testing.assert_close(found, expected.detach() if detach else expected)
            assert found.requires_grad != detach
    for k, network in enumerate(reference):
        for name, value in snapshot(network).items():
            torch.testing.assert_close(snapshot(group[k])[name], value)


def test_without_batch_statistics_it_equals_a_loop_over_pairs() -> None:
    group = group_of().eval()
    own, taught = group.study(shares(), IMITATED)
    for k, x in enumerate(shares()):
        for j, logits in zip(IMITATED[k] if len(x) else [], taught[k], strict=True):
            torch.testing.assert_close(logits, predict_targets(group[j], x))
        if len(x):
            torch.testing.assert_close(own[k].detach(), predict_targets(group[k], x))


@pytest.mark.parametrize("detach", [True, False])
def test_own_logits_are_reused_on_the_same_samples(detach: bool) -> None:
    group = group_of(3)
    calls: list[nn.Module] = []
    for network in group.networks:
        network.register_forward_hook(lambda module, *_: calls.append(module))
    same = shares()[0]
    own, taught = group.study([same] * 3, [[2, 1], [0], []], detach=detach)
    assert len(calls) == 3
    assert taught[0][0].data_ptr() == own[2].data_ptr()
    assert taught[0][1].data_ptr() == own[1].data_ptr()
    assert taught[1][0].requires_grad != detach


def test_forward_export_and_description() -> None:
    group = group_of(2).eval()
    inputs = shares()[0]
    assert len(group) == 2
    for k, logits in enumerate(group(inputs)):
        network = group.export(k)
        assert torch.equal(network(inputs), logits)
        assert not {id(p) for p in network.parameters()} & {id(p) for p in group.parameters()}
        assert group[k] is group.networks[k] is group.compiled_modules()[k]
    assert group.describe() == {"group": "independent", "students": 2}
