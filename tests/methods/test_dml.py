"""Deep mutual learning and Hinton's distillation against their formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import LabelTargets
from studygroup.clock import Clock
from studygroup.losses import soft_kl
from studygroup.methods import DML, KD
from tests.methods.tiny import CLASSES, batch_for, built_method, optimizer_of, snapshot, train, updates

LABELS = torch.tensor([0, 1, 2, 3, 1])
TARGETS = LabelTargets(LABELS)


def logits_of(students: int) -> list[Tensor]:
    return list(torch.randn(students, 5, CLASSES, generator=torch.Generator().manual_seed(1)).requires_grad_().unbind())


@pytest.mark.parametrize(
    ("options", "temperature"),
    [
        ({}, 1.0),
        ({"temperature": 2.0}, 2.0),
        ({"peer_reduction": "sum"}, 1.0),
        ({"target": "mean_logits"}, 1.0),
        ({"preset": "okddip"}, 3.0),
    ],
)
def test_student_losses_against_the_formula(options: dict[str, Any], temperature: float) -> None:
    method = DML(students=3, **options)
    logits = logits_of(3)
    for k in range(3):
        losses = method.student_loss(k, logits, TARGETS)
        peers = [logits[j] for j in range(3) if j != k]
        if method.target == "mean_logits":
            expected = soft_kl(logits[k], (peers[0] + peers[1]) / 2, temperature)
        else:
            expected = sum((soft_kl(logits[k], peer, temperature) for peer in peers), torch.zeros(()))
            expected = expected if method.peer_reduction == "sum" else expected / 2
        torch.testing.assert_close(losses[f"student{k}/mimicry"], expected)
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], F.cross_entropy(logits[k], LABELS))


@pytest.mark.parametrize("detach", [True, False])
def test_peers_are_targets_unless_attached(detach: bool) -> None:
    logits = logits_of(2)
    mimicry = DML(detach=detach).student_loss(0, logits, TARGETS)["student0/mimicry"]
    own, peer = torch.autograd.grad(mimicry, logits, allow_unused=True)
    assert own is not None
    assert (peer is None) == detach


def test_two_students_are_treated_alike() -> None:
    one, other = logits_of(2)
    method = DML()
    first, second = method.student_loss(0, [one, other], TARGETS), method.student_loss(1, [other, one], TARGETS)
    assert [float(loss.detach()) for loss in first.values()] == [float(loss.detach()) for loss in second.values()]


def test_exchanging_two_students_exchanges_what_they_learn() -> None:
    method, mirrored = built_method("dml"), built_method("dml")
    students = [method.export(f"student{k}").state_dict() for k in range(2)]
    mirrored.group[0].load_state_dict(students[1])
    mirrored.group[1].load_state_dict(students[0])
    train(method, optimizer_of(method), range(2))
    train(mirrored, optimizer_of(mirrored), range(2))
    for k in range(2):
        for name, value in snapshot(method.group[k]).items():
            torch.testing.assert_close(value, snapshot(mirrored.group[1 - k])[name], rtol=1e-5, atol=1e-7)


def test_a_single_student_has_no_mimicry() -> None:
    method, baseline = built_method("dml", {"students": 1}), built_method("baseline")
    assert train(method, optimizer_of(method), range(3)) == train(baseline, optimizer_of(baseline), range(3))


def test_sequential_students_imitate_the_newest_predictions() -> None:
    """Algorithm 1: student k's targets come from students 0..k-1 as just updated."""
    method = built_method("dml", {"students": 3, "update": "sequential"})
    batch = batch_for(method)
    networks = [method.export(f"student{k}").train() for k in range(3)]
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.05) for network in networks]
    own = torch.optim.SGD(method.parameters(), lr=0.05)
    found = [{name: float(loss.detach()) for name, loss in losses.items()} for losses in updates(method, own, batch)]
    for k, network in enumerate(networks):
        with torch.no_grad():
            peers = [other(batch.inputs) for other in networks if other is not network]
        logits = network(batch.inputs)
        mimicry = torch.stack([soft_kl(logits, peer) for peer in peers]).mean()
        loss = F.cross_entropy(logits, batch.labels) + mimicry
        assert found[k][f"student{k}/mimicry"] == pytest.approx(float(mimicry.detach()), rel=1e-4)
        optimizers[k].zero_grad()
        loss.backward()
        optimizers[k].step()
    for k, network in enumerate(networks):
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(dict(method.group[k].named_parameters())[name], parameter, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("update", "passes"), [("together", [1, 1, 1]), ("sequential", [2, 2, 1])])
def test_forward_passes(update: str, passes: list[int]) -> None:
    method = built_method("dml", {"students": 3, "update": update})
    counts = [0, 0, 0]

    def count(k: int) -> None:
        def hook(*_: object) -> None:
            counts[k] += 1

        method.group[k].register_forward_hook(hook)

    for k in range(3):
        count(k)
    for _ in updates(method, optimizer_of(method), batch_for(method)):
        pass
    assert counts == passes
    tracked = {int(value) for name, value in method.named_buffers() if name.endswith("num_batches_tracked")}
    assert tracked == {1}, "asking a peer again leaves no trace in its statistics"


def test_distillation_against_the_formula() -> None:
    method = built_method("kd", {"alpha": 0.3, "temperature": 2.0})
    assert isinstance(method, KD)
    batch = batch_for(method)
    logits = method.export("student0").train()(batch.inputs)
    teacher = method.teacher.network.eval()(batch.inputs)
    losses = next(method.step(batch, Clock()))
    torch.testing.assert_close(losses["student0/cross_entropy"], 0.7 * F.cross_entropy(logits, batch.labels))
    torch.testing.assert_close(losses["student0/distillation"], 0.3 * soft_kl(logits, teacher, 2.0))


def test_distillation_without_weight_is_the_baseline() -> None:
    method, baseline = built_method("kd", {"alpha": 0.0}), built_method("baseline")
    train(method, optimizer_of(method), range(3))
    train(baseline, optimizer_of(baseline), range(3))
    for name, value in snapshot(baseline.group).items():
        torch.testing.assert_close(snapshot(method.group)[name], value)
