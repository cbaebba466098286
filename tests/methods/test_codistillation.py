"""Codistillation: what the copies know, when they are exchanged, and that they survive a stop."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen
from studygroup.losses import soft_kl
from studygroup.methods import Codistillation
from tests.methods.tiny import CLASSES, batch_for, built_method, images, optimizer_of, snapshot, tiny, train, updates, wider


def assembled_codistillation(**options: Any) -> Codistillation:
    method = built_method("codistillation", {"burn_in": 0.0, **options})
    assert isinstance(method, Codistillation)
    return method


def copies(method: Codistillation) -> list[nn.Module]:
    return [held.get_submodule("network") for held in method.sources.copies]


def same(one: nn.Module, other: nn.Module) -> bool:
    found = snapshot(other)
    return all(torch.equal(value, found[name]) for name, value in snapshot(one).items())


class Still(nn.Module):
    """A network without batch norm: the same in training and evaluation."""

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1))
        return out


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_losses_against_the_formula(weight: float) -> None:
    method = assembled_codistillation(students=3, weight=weight)
    train(method, optimizer_of(method), range(2))  # now the copies are two steps old
    batch = batch_for(method, 5)
    stale = [copied.eval() for copied in copies(method)]
    logits = [method.export(f"student{k}").train()(batch.inputs) for k in range(3)]
    losses = next(method.step(batch, Clock(epoch=1, epochs=4, step=0, steps=2)))
    for k in range(3):
        with torch.no_grad():
            mean = sum((stale[j](batch.inputs).softmax(-1) for j in range(3) if j != k), torch.zeros(())) / 2
        expected = -(mean * logits[k].log_softmax(-1)).sum(-1).mean()
        torch.testing.assert_close(losses[f"student{k}/imitation"], weight * expected)
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], F.cross_entropy(logits[k], batch.labels))


def test_copies_are_refreshed_every_so_many_steps() -> None:
    method = assembled_codistillation(exchange_interval=3)
    optimizer = optimizer_of(method)
    held = snapshot(method.sources)
    for done in range(8):
        clock = Clock(epoch=done // 4, epochs=2, step=done % 4, steps=4)
        before = [snapshot(method.group[k]) for k in range(2)]
        for _ in updates(method, optimizer, batch_for(method, done), clock):
            now = snapshot(method.sources)
            if done % 3 == 0:  # as they were before this step, parameters and buffers, but for what its forward pass tracked
                for k in range(2):
                    assert all(torch.equal(now[f"copies.{k}.network.{name}"], value) for name, value in before[k].items())
            else:
                assert all(torch.equal(now[name], value) for name, value in held.items())
            held = now
    assert not same(copies(method)[0], method.group[0])


def test_copies_start_as_the_students_and_have_no_part_in_training() -> None:
    method = assembled_codistillation(students=3)
    for k, copied in enumerate(copies(method)):
        assert same(copied, method.group[k])
        assert not any(p.requires_grad for p in copied.parameters())
        assert not any(module.training for module in copied.modules())
    assert all(isinstance(held, Frozen) for held in method.sources.copies)
    assert method.members() == ("student0", "student1", "student2")
    owned = {id(p) for parameters in method.parameter_sets().values() for p in parameters}
    assert owned == {id(p) for p in method.group.parameters()}


@pytest.mark.parametrize(
    ("options", "taught"),
    [
        ({"burn_in": 0.0}, [0, 1, 2, 3, 4, 5]),
        ({"burn_in": 1.0}, [3, 4, 5]),
        ({"burn_in": 0.5}, [2, 3, 4, 5]),
        ({"burn_in": 4.0, "burn_in_unit": "steps"}, [4, 5]),
        ({"burn_in": 2.0}, []),
    ],
)
def test_the_burn_in(options: dict[str, Any], taught: list[int]) -> None:
    method = assembled_codistillation(**options)
    found = []
    for done in range(6):
        losses = next(method.step(batch_for(method, done), Clock(epoch=done // 3, epochs=2, step=done % 3, steps=3)))
        assert "student1/cross_entropy" in losses
        if "student1/imitation" in losses:
            found.append(done)
    assert found == taught


@pytest.mark.parametrize("students", [2, 3])
def test_exchanging_always_is_mutual_learning_from_averaged_probabilities(students: int) -> None:
    """With shared data, and networks that are the same in evaluation, its gradients are those of a divergence from the average."""
    method = built_method("codistillation", {"students": students, "burn_in": 0.0, "exchange_interval": 1}, spec=Still)
    mutual = built_method("dml", {"students": students}, spec=Still)
    one, other = optimizer_of(method), optimizer_of(mutual)
    for number in range(4):
        batch = batch_for(method, number)
        for _ in updates(method, one, batch, Clock(step=number, steps=4)):
            pass
        logits = mutual.group(batch.inputs)
        losses = []
        for k in range(students):
            average = torch.stack([z.detach().softmax(-1) for j, z in enumerate(logits) if j != k]).mean(0)
            losses += [F.cross_entropy(logits[k], batch.labels), soft_kl(logits[k], average.log())]
        torch.stack(losses).sum().backward()
        other.step()
        other.zero_grad()
    for name, value in snapshot(mutual.group).items():
        torch.testing.assert_close(snapshot(method.group)[name], value)


def test_exchanging_every_step_with_two_students_is_deep_mutual_learning() -> None:
    method = built_method("codistillation", {"burn_in": 0.0, "exchange_interval": 1}, spec=Still)
    mutual = built_method("dml", spec=Still)
    train(method, optimizer_of(method), range(4))
    train(mutual, optimizer_of(mutual), range(4))
    for name, value in snapshot(mutual.group).items():
        torch.testing.assert_close(snapshot(method.group)[name], value)


@pytest.mark.parametrize("students", [2, 3, 4])
def test_copies_teach_each_student_on_its_own_samples(students: int) -> None:
    method = assembled_codistillation(students=students, division="fixed")
    batch = batch_for(method)
    shares = batch.per_student(students)
    train(method, optimizer_of(method), range(1))
    stale = [copied.eval() for copied in copies(method)]
    asked: list[int] = []
    for copied in copies(method):
        copied.register_forward_hook(lambda _, given, __: asked.append(len(given[0])))
    found = method.sources.log_opinions([share.inputs for share in shares])
    assert asked == [len(batch) - len(share) for share in shares], "each copy is asked once, about the others' samples"
    for k, share in enumerate(shares):
        with torch.no_grad():
            mean = torch.stack([stale[j](share.inputs).softmax(-1) for j in range(students) if j != k]).mean(0)
        torch.testing.assert_close(found[k], mean.log())


def test_shared_batches_go_through_each_copy_once() -> None:
    method = assembled_codistillation(students=4)
    asked: list[int] = []
    for copied in copies(method):
        copied.register_forward_hook(lambda _, given, __: asked.append(len(given[0])))
    next(method.step(batch_for(method), Clock()))
    assert asked == [12] * 4


def test_a_student_without_samples_is_skipped() -> None:
    method = assembled_codistillation(students=3, division="epoch")
    whole = batch_for(method)
    batch = Batch(whole.inputs, whole.labels, whole.indices, (7, 0, 5))
    for losses in updates(method, optimizer_of(method), batch):
        assert set(losses) == {f"student{k}/{kind}" for k in (0, 2) for kind in ("cross_entropy", "imitation")}
        assert all(p.grad is None for p in method.group[1].parameters())


def test_copies_are_restored_on_resume() -> None:
    """Stopped between two exchanges, a run goes on with the copies that it had, not with new ones."""
    options = {"students": 2, "exchange_interval": 3}
    method = assembled_codistillation(**options)
    optimizer = optimizer_of(method)
    train(method, optimizer, range(5))  # exchanged before the steps 0 and 3
    state, moments = copy.deepcopy(method.state_dict()), copy.deepcopy(optimizer.state_dict())
    assert not same(copies(method)[0], method.group[0])
    expected = train(method, optimizer, range(5, 8))

    again = assembled_codistillation(**options)
    resumed = optimizer_of(again)
    again.load_state_dict(state)
    resumed.load_state_dict(moments)
    assert train(again, resumed, range(5, 8)) == expected
    forgetful = assembled_codistillation(**options)
    for k in range(2):
        forgetful.group[k].load_state_dict({n.removeprefix(f"group.networks.{k}."): v for n, v in state.items() if f"networks.{k}." in n})
    forgetful.sources.exchange(forgetful.group)
    fresh = optimizer_of(forgetful)
    assert train(forgetful, fresh, range(5, 6)) != expected[:1], "it would be seen"


def test_different_networks_may_codistil() -> None:
    method = built_method("codistillation", {"students": 3, "burn_in": 0.0}, peers=(wider, tiny))
    assert isinstance(method, Codistillation)
    assert method.candidates == ("student0", "student2")
    found = method.sources.log_opinions([images(3, seed=1)] * 3)
    assert [tuple(opinion.shape) for opinion in found] == [(3, CLASSES)] * 3


def test_zero_probabilities_give_finite_losses() -> None:
    """A copy that is certain gives probabilities of exactly 0, whose logarithm is infinite."""
    method = built_method("codistillation", {"burn_in": 0.0}, spec=Still)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.mul_(1e4)
    for losses in updates(method, optimizer_of(method), batch_for(method)):
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_partition_of_the_samples() -> None:
    assert Codistillation().partition().division == "none"
    partition = Codistillation(students=3, division="fixed", overlap=0.5).partition()
    assert (partition.students, partition.division, partition.overlap, partition.per_student) == (3, "fixed", 0.5, True)
    assert not Codistillation(students=3, division="epoch", batch="total").partition().per_student
