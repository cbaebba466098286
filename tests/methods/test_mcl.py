"""MCL: contrasts against loops over samples, the sum of its terms, and what it needs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from studygroup.clock import Clock
from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.losses import cross_entropy, soft_kl, supervised_contrast, unit_similarity
from studygroup.methods import MCL
from studygroup.networks.features import extract_features
from studygroup.training.trainer import shard_group
from tests.methods.tiny import batch_for, built_method, tiny, wider


def mcl(**options: Any) -> MCL:
    method = built_method("mcl", options)
    assert isinstance(method, MCL)
    return method


def looped_contrast(similarity: list[list[float]], labels: list[int]) -> float:
    each = []
    for a, row in enumerate(similarity):
        positives = [p for p in range(len(row)) if p != a and labels[p] == labels[a]]
        if positives:
            total = sum(math.exp(s) for b, s in enumerate(row) if b != a)
            each.append(sum(-math.log(math.exp(row[p]) / total) for p in positives) / len(positives))
    return sum(each) / len(each)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [3, 3, 3, 3, 3], [0, 1, 2, 3, 0]])
def test_the_contrast_against_a_loop(labels: list[int]) -> None:
    similarity = 2 * torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = float(supervised_contrast(similarity, torch.tensor(labels)))
    assert found == pytest.approx(looped_contrast(similarity.tolist(), labels), rel=1e-10)


def test_the_contrast_ignores_a_sample_itself_and_a_shift_of_a_row() -> None:
    similarity = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 2, 2])
    expected = supervised_contrast(similarity, labels)
    torch.testing.assert_close(supervised_contrast(similarity + 100 * torch.eye(6), labels), expected)
    torch.testing.assert_close(supervised_contrast(similarity + torch.randn(6, 1), labels), expected)
    assert float(supervised_contrast(similarity + 3.0 * (labels[:, None] == labels), labels)) < float(expected)


def test_the_contrast_without_a_pair_is_zero_and_differentiable() -> None:
    similarity = torch.randn(3, 3, requires_grad=True)
    loss = supervised_contrast(similarity, torch.tensor([0, 1, 2]))
    (gradient,) = torch.autograd.grad(loss, similarity)
    assert float(loss.detach()) == 0.0
    assert float(gradient.abs().max()) == 0.0


def test_derivatives_agree_with_finite_differences() -> None:
    similarity = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda s: supervised_contrast(s, labels), similarity)
    one, other = torch.randn(2, 4, 3, dtype=torch.float64).unbind(0)
    assert torch.autograd.gradcheck(unit_similarity, (one.clone().requires_grad_(), other.clone().requires_grad_()))


def test_similarities_are_cosines_in_full_precision() -> None:
    one, other = torch.randn(2, 4, 3).unbind(0)
    expected = torch.nn.functional.cosine_similarity(one[:, None], other[None], dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = unit_similarity(one, other)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [
    {}, {"students": 3, "vanilla": 0.2, "interactive": 0.3, "vanilla_imitation": 0.4, "interactive_imitation": 0.5, "temperature": 2.0},
])  # fmt: skip
def test_losses_against_the_formula(options: dict[str, Any]) -> None:
    method, twin = mcl(**options), mcl(**options)
    count, temperature = method.students, method.temperature
    batch = batch_for(method)
    (losses,) = method.step(batch, Clock())
    features = [extract_features(twin.group[k], batch.inputs, []) for k in range(count)]
    e = [twin.embeddings[k](own.pooled) for k, own in enumerate(features)]
    e = [vectors / vectors.norm(dim=1, keepdim=True) for vectors in e]

    def s(i: int, j: int) -> Tensor:
        similarity: Tensor = e[i] @ e[j].T / 0.07
        return similarity

    def c(i: int, j: int) -> float:
        return looped_contrast(s(i, j).tolist(), batch.labels.tolist())

    weights = [options.get(name, default) for name, default in [
        ("vanilla", 0.1), ("interactive", 0.1), ("vanilla_imitation", 1.0), ("interactive_imitation", 1.0),
    ]]  # fmt: skip
    for k in range(count):
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], cross_entropy(features[k].logits, batch.labels))
        assert float(losses[f"student{k}/vanilla"].detach()) == pytest.approx(weights[0] * c(k, k), rel=1e-4)
        imitation = sum(float(soft_kl(s(k, k), s(j, j), temperature).detach()) for j in range(count) if j != k)
        assert float(losses[f"student{k}/vanilla_imitation"].detach()) == pytest.approx(weights[2] * imitation, rel=1e-3, abs=1e-5)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    assert float(losses["group/interactive"].detach()) == pytest.approx(weights[1] * sum(c(i, j) for i, j in pairs), rel=1e-4)
    imitation = sum(float(soft_kl(s(i, j), s(j, i), temperature).detach()) for i, j in pairs)
    assert float(losses["group/interactive_imitation"].detach()) == pytest.approx(weights[3] * imitation, rel=1e-3, abs=1e-5)


def test_embeddings_belong_to_no_member_and_are_not_exported() -> None:
    method = mcl()
    shared = {id(p) for p in method.parameter_sets()["shared"]}
    assert {id(p) for p in method.embeddings.parameters()} == shared
    assert list(method.export("student0").state_dict()) == list(tiny().state_dict())


def test_networks_may_differ() -> None:
    method = built_method("mcl", {"students": 3}, peers=(wider, tiny))
    (losses,) = method.step(batch_for(method), Clock())
    assert torch.isfinite(losses["group/interactive"])


def test_members_stay_on_one_rank() -> None:
    with pytest.raises(UserError, match="cannot be on different ranks; use --shard samples"):
        shard_group(mcl(), DistContext(0, 2, "members"), 4)
