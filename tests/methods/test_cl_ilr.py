"""Collaborative learning of branches against its formulas, and the rescaled gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import LabelTargets
from studygroup.clock import Clock
from studygroup.groups import Branched
from studygroup.losses import cross_entropy, soft_cross_entropy, soft_kl
from studygroup.methods import CLILR
from studygroup.networks import NetworkFactory, parameter_count
from studygroup.schedules import ramp
from tests.methods.tiny import CLASSES, batch_for, built_method, optimizer_of, snapshot, train

LABELS = torch.tensor([0, 1, 2, 3, 1])
TARGETS = LabelTargets(LABELS)
LATE = Clock(epoch=299, epochs=300)


def logits_of(students: int) -> list[Tensor]:
    return list(torch.randn(students, 5, CLASSES, generator=torch.Generator().manual_seed(1)).requires_grad_().unbind())


@pytest.mark.parametrize(("options", "temperature"), [({}, 3.0), ({"temperature": 2.5}, 2.5)])
def test_student_losses_of_the_default_form(options: dict[str, Any], temperature: float) -> None:
    method, logits = CLILR(students=3, **options), logits_of(3)
    for k in range(3):
        losses = method.student_loss(k, logits, TARGETS, 0.3)
        target = sum(logits[j] for j in range(3) if j != k) / 2
        assert isinstance(target, Tensor)
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], F.cross_entropy(logits[k], LABELS))
        torch.testing.assert_close(losses[f"student{k}/imitation"], 0.3 * soft_kl(logits[k], target, temperature))


@pytest.mark.parametrize(
    ("options", "temperature", "beta"), [({}, 2.0, 0.5), ({"beta": 0.2}, 2.0, 0.2), ({"temperature": 4.0, "beta": 1.0}, 4.0, 1.0)]
)
def test_student_losses_of_the_papers_form(options: dict[str, Any], temperature: float, beta: float) -> None:
    method, logits = CLILR(students=3, preset="paper", **options), logits_of(3)
    losses = method.student_loss(1, logits, TARGETS, 1.0)
    expected = (1 - beta) * soft_cross_entropy(logits[1], (logits[0] + logits[2]) / 2, temperature)
    torch.testing.assert_close(losses["student1/imitation"], expected)
    torch.testing.assert_close(losses["student1/cross_entropy"], beta * cross_entropy(logits[1], LABELS))


@pytest.mark.parametrize("preset", ["okddip", "paper"])
@pytest.mark.parametrize("detach", [True, False])
def test_peers_are_constants_unless_attached(preset: Any, detach: bool) -> None:
    logits = logits_of(3)
    imitation = CLILR(students=3, preset=preset, detach=detach).student_loss(0, logits, TARGETS, 1.0)["student0/imitation"]
    own, *others = torch.autograd.grad(imitation, logits, allow_unused=True)
    assert own is not None
    assert [gradient is None for gradient in others] == [detach] * 2


@pytest.mark.parametrize("preset", ["okddip", "paper"])
def test_rescaling_divides_the_trunks_gradient_by_the_students(preset: str) -> None:
    gradients = []
    for rescale in (True, False):
        method = built_method("cl_ilr", {"students": 4, "rescale": rescale, "preset": preset}).double()
        batch = batch_for(method)
        losses = next(method.step(type(batch)(batch.inputs.double(), batch.labels, batch.indices), LATE))
        torch.stack(list(losses.values())).sum().backward()
        gradients.append({name: p.grad for name, p in method.named_parameters() if p.grad is not None})
    scaled, plain = gradients
    assert set(scaled) == set(plain) == set(dict(method.named_parameters()))
    for name, gradient in plain.items():
        torch.testing.assert_close(scaled[name], gradient / 4 if name.startswith("group.trunk") else gradient)


@pytest.mark.parametrize(("options", "rises"), [({}, 80), ({"preset": "paper"}, 0), ({"ramp_share": 0.5}, 150)])
def test_the_ramp_is_a_share_of_the_epochs(options: dict[str, Any], rises: int) -> None:
    method = built_method("cl_ilr", {"students": 2, **options})
    batch = batch_for(method)
    full = float(next(method.step(batch, LATE))["student0/imitation"].detach())
    for epoch in (0, 40, 79, 80, 81, 150, 299):
        now = float(next(method.step(batch, Clock(epoch=epoch, epochs=300)))["student0/imitation"].detach())
        assert now / full == pytest.approx(ramp(epoch, 0, rises), rel=1e-4)
    assert ramp(79, 0, 80) < 1
    short = float(next(method.step(batch, Clock(epoch=2, epochs=30)))["student0/imitation"].detach())
    assert short / full == pytest.approx(ramp(2, 0, rises / 10), rel=1e-4), "a short run has the same shape"


def test_parameters_are_the_branches_and_the_trunk() -> None:
    method = built_method("cl_ilr", {"students": 3})
    assert isinstance(method.group, Branched)
    sets = method.parameter_sets()
    assert list(sets) == ["shared", "student0", "student1", "student2"]
    assert {id(p) for p in sets["shared"]} == {id(p) for p in method.group.trunk.parameters()}
    for k in range(3):
        assert {id(p) for p in sets[f"student{k}"]} == {id(p) for p in method.group.branches[k].parameters()}


@pytest.mark.parametrize(("classes", "expected"), [(10, 1_529_848), (100, 1_553_248)])
def test_parameter_counts(classes: int, expected: int) -> None:
    method = CLILR()
    method.build(NetworkFactory("resnet32", num_classes=classes, in_channels=3))
    assert parameter_count(method) == expected
    assert parameter_count(method.export("student3")) == {10: 466_906, 100: 472_756}[classes]


def test_the_first_student_starts_as_the_network_alone() -> None:
    alone = built_method("baseline", seed=7)
    for name in ("cl_ilr", "one"):
        method = built_method(name, seed=7)
        first = method.export("student0").state_dict()
        assert all(torch.equal(value, first[key]) for key, value in alone.export("student0").state_dict().items())


def test_branches_grow_apart_and_learn() -> None:
    """The same batch again and again: every branch's error falls."""
    method = built_method("cl_ilr", {"students": 3})
    optimizer = optimizer_of(method)
    before = snapshot(method)
    losses = [train(method, optimizer, range(1))[0] for _ in range(15)]
    for k in range(3):
        assert losses[-1][f"student{k}/cross_entropy"] < 0.7 * losses[0][f"student{k}/cross_entropy"]
    assert not torch.equal(snapshot(method)["group.trunk.stem.0.weight"], before["group.trunk.stem.0.weight"])
