"""Diverse peers: whom they listen to, what the leader learns, and that it is the one to deploy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.losses import soft_kl
from studygroup.methods import OKDDip
from studygroup.methods.okddip import Attention
from studygroup.networks import Chain, NetworkFactory, extract_features, parameter_count
from tests.methods.tiny import batch_for, built_method, images, optimizer_of, train

LATE = Clock(epoch=299, epochs=300)


def assembled_okddip(**options: Any) -> OKDDip:
    method = built_method("okddip", options)
    assert isinstance(method, OKDDip)
    return method


def test_attention_rows_sum_to_one_and_need_not_be_symmetric() -> None:
    torch.manual_seed(0)
    weights = Attention(16, 8)(torch.randn(5, 3, 16))
    assert weights.shape == (5, 3, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(5, 3))
    assert not torch.allclose(weights, weights.mT, atol=1e-3)


def test_attention_against_a_loop() -> None:
    torch.manual_seed(0)
    attention = Attention(16, 4)
    features = torch.randn(2, 3, 16)
    found = attention(features)
    assert attention.query.weight.shape == attention.key.weight.shape == (4, 16)
    query, key = attention.query.weight.detach(), attention.key.weight.detach()
    for b in range(2):
        for i in range(3):
            # Itself included, and not divided by the root of the length.
            scores = [float((query @ features[b, i]) @ (key @ features[b, j])) for j in range(3)]
            total = sum(math.exp(score) for score in scores)
            assert found[b, i].tolist() == pytest.approx([math.exp(score) / total for score in scores], rel=1e-4)


@pytest.mark.parametrize("form", ["branch", "network"])
@pytest.mark.parametrize("students", [3, 4])
def test_losses_against_the_formula(form: str, students: int) -> None:
    method = assembled_okddip(students=students, form=form, temperature=2.0, reduction=2)
    names = method.student_names()
    networks = [method.export(name).train() for name in names]
    batch = batch_for(method)
    features, logits = [], []
    for network in networks:
        assert isinstance(network, Chain)
        found = extract_features(network, batch.inputs)
        features.append(found.pooled)
        logits.append(found.logits)
    *peers, leader = logits
    losses = next(method.step(batch, LATE))
    query, key = method.attention.query.weight, method.attention.key.weight
    for i, name in enumerate(names[:-1]):
        scores = torch.stack([((features[i] @ query.T) * (features[j] @ key.T)).sum(1) for j in range(len(peers))], dim=1)
        weights = scores.softmax(1)
        target = torch.stack([weights[:, j, None] * peers[j] for j in range(len(peers))]).sum(0)
        torch.testing.assert_close(losses[f"{name}/imitation"], soft_kl(peers[i], target, 2.0), rtol=1e-4, atol=1e-6)
    average = torch.stack(peers).mean(0)
    torch.testing.assert_close(losses["leader/imitation"], soft_kl(leader, average, 2.0), rtol=1e-4, atol=1e-6)
    for name, z in zip(names, logits, strict=True):
        torch.testing.assert_close(losses[f"{name}/cross_entropy"], F.cross_entropy(z, batch.labels))
    assert len(losses) == 2 * students


def test_the_projections_learn_from_the_peers_imitation_alone() -> None:
    method = assembled_okddip()
    projections = list(method.attention.parameters())
    for name, loss in next(method.step(batch_for(method), LATE)).items():
        gradients = torch.autograd.grad(loss, projections, retain_graph=True, allow_unused=True)
        reached = name.startswith("peer") and name.endswith("imitation")
        assert [g is not None and bool(g.any()) for g in gradients] == [reached] * 2, name


@pytest.mark.parametrize("detach", [True, False])
def test_the_leaders_target_may_be_detached(detach: bool) -> None:
    method = assembled_okddip(detach_leader_target=detach)
    loss = next(method.step(batch_for(method), LATE))["leader/imitation"]
    sets = method.parameter_sets()
    for i in range(3):
        gradients = torch.autograd.grad(loss, sets[f"peer{i}"], retain_graph=True, allow_unused=True)
        assert all(gradient is None for gradient in gradients) == detach
    assert all(g is not None for g in torch.autograd.grad(loss, sets["leader"], allow_unused=True))


def test_peers_do_not_learn_from_the_leader() -> None:
    method = assembled_okddip()
    losses = next(method.step(batch_for(method), LATE))
    leader = method.parameter_sets()["leader"]
    for i in range(3):
        assert all(g is None for g in torch.autograd.grad(losses[f"peer{i}/imitation"], leader, retain_graph=True, allow_unused=True))


def test_the_leader_is_deployed_and_the_only_candidate() -> None:
    method = assembled_okddip()
    assert method.student_names() == method.members() == ("peer0", "peer1", "peer2", "leader")
    assert method.candidates == ("leader",)
    method.eval()
    inputs = images(3, seed=1)
    torch.testing.assert_close(method.export("leader")(inputs), method.group(inputs)[3])


@pytest.mark.parametrize(
    ("form", "classes", "expected"),
    [("branch", 10, 1_530_872), ("branch", 100, 1_554_272), ("network", 10, 4 * 466_906 + 1_024)],
)
def test_parameter_counts(form: Any, classes: int, expected: int) -> None:
    method = OKDDip(form=form)
    method.build(NetworkFactory("resnet32", num_classes=classes, in_channels=3))
    assert parameter_count(method) == expected
    assert parameter_count(method.attention) == 1_024


def test_projections_are_never_empty() -> None:
    assert [tuple(p.shape) for p in Attention(5, 8).parameters()] == [(1, 5), (1, 5)]


@pytest.mark.parametrize(("form", "shared"), [("branch", True), ("network", False)])
def test_owners_of_parameters(form: str, shared: bool) -> None:
    method = assembled_okddip(students=3, form=form)
    sets = method.parameter_sets()
    assert set(sets) == {"shared", "peer0", "peer1", "leader"}
    own = {id(p) for p in method.attention.parameters()}
    trunk = {id(p) for p in method.group.trunk.parameters()}
    assert bool(trunk) == shared
    assert {id(p) for p in sets["shared"]} == own | trunk


def test_a_single_peer_attends_to_itself_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="one peer"):
        method = assembled_okddip(students=2)
    losses = next(method.step(batch_for(method), LATE))
    assert float(losses["peer0/imitation"].detach()) == pytest.approx(0.0, abs=1e-5)
    assert float(losses["leader/imitation"].detach()) > 1e-5


def test_a_leader_alone_has_no_projections() -> None:
    method = assembled_okddip(students=1)
    assert method.members() == ("leader",)
    assert not hasattr(method, "attention")


def test_whole_networks_have_no_branches() -> None:
    with pytest.raises(UserError, match="branch_from is 'stage1'"):
        built_method("okddip", {"form": "network", "branch_from": "stage1"})


def test_all_members_learn() -> None:
    method = assembled_okddip()
    optimizer = optimizer_of(method)
    losses = [train(method, optimizer, range(1))[0] for _ in range(15)]
    for name in method.members():
        assert losses[-1][f"{name}/cross_entropy"] < 0.7 * losses[0][f"{name}/cross_entropy"]
