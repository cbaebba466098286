"""The on-the-fly native ensemble: its gate, its losses, and what is deployed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.losses import soft_kl
from studygroup.methods import ONE
from studygroup.methods.one import Gate
from studygroup.networks import NetworkFactory, parameter_count
from tests.methods.tiny import batch_for, built_method, images, train

LATE = Clock(epoch=299, epochs=300)


def assembled_one(**options: Any) -> ONE:
    method = built_method("one", options)
    assert isinstance(method, ONE)
    return method


def test_gates_sum_to_one_and_depend_on_the_sample() -> None:
    torch.manual_seed(0)
    gate = Gate(5, 3)
    for training in (True, False):
        weights = gate.train(training)(torch.randn(7, 5, 4, 4))
        assert weights.shape == (7, 3)
        torch.testing.assert_close(weights.sum(1), torch.ones(7))
        assert (weights > 0).all()
        assert weights.std(0).max() > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_the_gate_against_its_formula(training: bool) -> None:
    torch.manual_seed(0)
    gate = Gate(5, 3).train(training)
    linear, norm = gate.get_submodule("0"), gate.get_submodule("1")
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, -0.5, 0.7]))
        norm.running_mean.copy_(torch.tensor([0.1, 0.2, -0.3]))  # type: ignore[union-attr]
    maps = torch.randn(7, 5, 4, 2)
    scores = maps.mean((2, 3)) @ linear.weight.T + linear.bias
    if training:
        mean, variance = scores.mean(0), scores.var(0, unbiased=False)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    normalised = (scores - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(gate(maps), normalised.clamp_min(0).softmax(-1))


def test_the_ensemble_weighs_the_branches_per_sample() -> None:
    method = assembled_one(students=3)
    shared = method.group.trunk(images(5, seed=1))
    logits = method.group.branch_outputs(shared)
    weights = method.gate.eval()(shared)
    found = method.ensemble(shared, logits)
    for b in range(5):
        torch.testing.assert_close(found[b], sum((weights[b, k] * logits[k][b] for k in range(3)), torch.zeros(())))


@pytest.mark.parametrize("detach", [True, False])
def test_losses_against_the_formula(detach: bool) -> None:
    method = assembled_one(students=3, detach=detach, temperature=2.0)
    networks = [method.export(f"student{k}").train() for k in range(3)]
    batch = batch_for(method)
    logits = [network(batch.inputs) for network in networks]
    weights = Gate(4, 3)
    weights.load_state_dict(method.gate.state_dict())
    gate = weights.train()(method.group.trunk(batch.inputs))
    ensemble = torch.einsum("bk,kbc->bc", gate, torch.stack(logits))
    losses = next(method.step(batch, LATE))
    torch.testing.assert_close(losses["group/gated"], F.cross_entropy(ensemble, batch.labels))
    for k in range(3):
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], F.cross_entropy(logits[k], batch.labels))
        torch.testing.assert_close(losses[f"student{k}/imitation"], soft_kl(logits[k], ensemble, 2.0))
    assert len(losses) == 7


@pytest.mark.parametrize("detach", [True, False])
def test_the_gate_learns_from_the_ensembles_cross_entropy(detach: bool) -> None:
    method = assembled_one(students=3, detach=detach)
    losses = next(method.step(batch_for(method), LATE))
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(method.gate.parameters()), retain_graph=True, allow_unused=True)
        reached = name == "group/gated" or (name.endswith("imitation") and not detach)
        assert any(g is not None and bool(g.any()) for g in gradients) == reached, name


def test_the_ramp_is_80_of_300_epochs() -> None:
    method = assembled_one()
    batch = batch_for(method)
    values = [float(next(method.step(batch, Clock(epoch=e, epochs=300)))["student1/imitation"].detach()) for e in (0, 80, 299)]
    assert values[0] / values[2] == pytest.approx(0.006738, rel=1e-3)
    assert values[1] == values[2]


@pytest.mark.parametrize(
    ("students", "classes", "expected"), [(3, 10, 1_175_639), (3, 100, 1_193_189), (4, 10, 1_529_988), (4, 100, 1_553_388)]
)
def test_parameter_counts(students: int, classes: int, expected: int) -> None:
    method = ONE(students=students)
    method.build(NetworkFactory("resnet32", num_classes=classes, in_channels=3))
    assert parameter_count(method) == expected
    assert parameter_count(method.gate) == {3: 105, 4: 140}[students]


def test_the_gate_belongs_to_all() -> None:
    method = assembled_one(students=2)
    sets = method.parameter_sets()
    assert set(sets) == {"shared", "student0", "student1"}
    assert {id(p) for p in method.gate.parameters()} <= {id(p) for p in sets["shared"]}
    assert len(sets["shared"]) == len(list(method.group.trunk.parameters())) + len(list(method.gate.parameters()))


def test_the_gated_ensemble_is_evaluated_and_not_deployed() -> None:
    method = assembled_one(students=3)
    train(method, torch.optim.SGD(method.parameters(), lr=0.05), range(2))
    method.eval()
    inputs = images(5, seed=3)
    with torch.no_grad():
        found = method.logits(inputs)
        shared = method.group.trunk(inputs)
        expected = torch.einsum("bk,kbc->bc", method.gate(shared), torch.stack(method.group(inputs)))
    torch.testing.assert_close(found["gated"], expected)
    assert "gated" not in method.members()
    assert method.candidates == ("student0", "student1", "student2")
    with pytest.raises(UserError, match="gated"):
        method.export("gated")


def test_a_single_branch_has_no_gate() -> None:
    method = assembled_one(students=1)
    assert not hasattr(method, "gate")
    assert set(method.logits(images(2, seed=0))) == {"student0"}


def test_a_batch_of_one_is_refused() -> None:
    """The gate's batch norm needs two samples; the trainer says so in its words."""
    method = assembled_one()
    batch = batch_for(method, count=1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        next(method.step(batch, Clock()))


def gate_weights(seed: int) -> Tensor:
    method = built_method("one", seed=seed)
    weights: Tensor = method.state_dict()["gate.0.weight"]
    return weights


def test_the_gate_starts_from_the_seed() -> None:
    assert torch.equal(gate_weights(1), gate_weights(1))
    assert not torch.equal(gate_weights(1), gate_weights(2))
