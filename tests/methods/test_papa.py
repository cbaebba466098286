"""PAPA: pulls against a loop, when they come, and the average that is deployed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.groups import average, pull_together
from studygroup.training.meter import LossMeter
from studygroup.training.settings import Settings
from studygroup.training.updater import Updater
from tests.methods.tiny import batch_for, built_method, optimizer_of, snapshot, tiny, train, wider


def networks(count: int = 3) -> list[nn.Module]:
    made: list[nn.Module] = [tiny() for _ in range(count)]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for number, network in enumerate(made):
            for value in network.state_dict().values():
                value.copy_(torch.randn(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(number))
    return made


def states(of: list[nn.Module]) -> list[dict[str, Tensor]]:
    return [copy.deepcopy(network.state_dict()) for network in of]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_pull_against_a_loop(share: float) -> None:
    moved = networks()
    before = states(moved)
    pull_together(moved, share)
    for number, after in enumerate(states(moved)):
        for name, value in after.items():
            if value.is_floating_point():
                mean = sum((state[name] for state in before), torch.zeros(())) / 3
                torch.testing.assert_close(value, (1 - share) * before[number][name] + share * mean)
            else:
                assert value == number


def test_a_pull_keeps_the_average_and_brings_networks_nearer() -> None:
    moved = networks()
    mean, before = average(moved).state_dict(), states(moved)
    pull_together(moved, 0.25)
    for name, value in average(moved).state_dict().items():
        torch.testing.assert_close(value, mean[name])
    weight = "classifier.weight"
    for was, now in zip(before, states(moved), strict=True):
        torch.testing.assert_close((now[weight] - mean[weight]).norm(), 0.75 * (was[weight] - mean[weight]).norm())


@pytest.mark.parametrize(("interval", "pulled"), [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [3]), (7, [])])
def test_pulls_come_after_every_nth_step_of_the_run(interval: int, pulled: list[int]) -> None:
    method = built_method("papa", {"students": 2, "interval": interval, "pull": 0.5})
    found = []
    for step in range(6):
        before = snapshot(method)
        method.after_step(Clock(epoch=step // 3, epochs=2, step=step % 3, steps=3))
        if any(not torch.equal(value, before[name]) for name, value in snapshot(method).items()):
            found.append(step)
    assert found == pulled


def test_without_a_pull_networks_are_trained_as_alone() -> None:
    group = built_method("papa", {"students": 2, "pull": 0.0, "views": False})
    alone = built_method("baseline")
    train(group, optimizer_of(group), range(4))
    train(alone, optimizer_of(alone), range(4))
    exported = group.export("student0").state_dict()
    assert all(torch.equal(value, exported[name]) for name, value in alone.export("student0").state_dict().items())


def test_a_batch_in_parts_is_pulled_once() -> None:
    found = []
    for parts in (1, 3):
        method = built_method("papa", {"students": 2, "interval": 1, "pull": 0.5, "views": False})
        method.eval()  # statistics of a part are others than those of the batch
        settings = Settings(microbatches=parts, precision="float32", batch_size=12)
        updater = Updater(method, settings, torch.device("cpu"))
        updater.step(batch_for(method), Clock(), LossMeter())
        found.append(snapshot(method))
    assert all(torch.allclose(value, found[1][name], atol=1e-6) for name, value in found[0].items())


def test_other_architectures_are_refused() -> None:
    with pytest.raises(UserError, match=r"papa averages networks.*takes no peers"):
        built_method("papa", {"students": 2}, peers=(wider,))
