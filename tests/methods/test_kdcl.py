"""Collaborative learning from an ensemble: its variants, its views, and the running estimate of the networks' errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import soft_kl, targets
from studygroup.methods import KDCL
from tests.methods.tiny import CLASSES, batch_for, built_method, optimizer_of, snapshot, train, updates

ENSEMBLES = {"mean": targets.mean, "naive": targets.naive, "minlogit": targets.minlogit, "linear": targets.linear}


def assembled_kdcl(**options: Any) -> KDCL:
    method = built_method("kdcl", options)
    assert isinstance(method, KDCL)
    return method


def logits_of(method: KDCL, batch: Batch) -> Tensor:
    """(K, B, C): each network, as it is, on its own view."""
    return torch.stack([method.export(f"student{k}").train()(batch.view(k)) for k in range(method.students)])


@pytest.mark.parametrize(
    ("options", "variant", "hard", "soft", "temperature"),
    [
        ({}, "mean", 0.5, 0.5, 4.0),
        ({"preset": "paper"}, "minlogit", 1.0, 1.0, 4.0),
        ({"variant": "naive", "weight": 2.0}, "naive", 0.5, 2.0, 4.0),
        ({"preset": "paper", "variant": "linear", "label_weight": 0.1, "temperature": 2.0}, "linear", 0.1, 1.0, 2.0),
    ],
)
def test_losses_against_the_formula(options: dict[str, Any], variant: str, hard: float, soft: float, temperature: float) -> None:
    method = assembled_kdcl(students=3, **options)
    batch = batch_for(method)
    logits = logits_of(method, batch)
    target = ENSEMBLES[variant](logits.detach(), batch.labels)
    losses = next(method.step(batch, Clock()))
    for k in range(3):
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], hard * F.cross_entropy(logits[k], batch.labels))
        torch.testing.assert_close(losses[f"student{k}/imitation"], soft * soft_kl(logits[k], target, temperature))
    assert len(losses) == 6


def test_every_network_sees_a_view_of_its_own() -> None:
    for views in (True, False):
        method = assembled_kdcl(students=3, views=views)
        assert method.partition().views == (3 if views else 1)
        batch = batch_for(method)
        seen: list[Tensor] = []
        for k in range(3):
            method.group[k].register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        next(method.step(batch, Clock()))
        for k in range(3):
            assert seen[k] is batch.view(k)
        assert torch.equal(seen[0], seen[1]) != views


def test_with_identical_predictions_only_the_labels_have_gradient() -> None:
    for variant in ("mean", "naive", "linear", "general"):
        method = assembled_kdcl(students=2, variant=variant, views=False)
        method.group[1].load_state_dict(method.group[0].state_dict())
        losses = next(method.step(batch_for(method), Clock()))
        for k in range(2):
            assert float(losses[f"student{k}/imitation"].detach()) == pytest.approx(0.0, abs=1e-5)


def of(labels: Tensor) -> Batch:
    return Batch(torch.zeros(len(labels)), labels, torch.arange(len(labels)))


def test_ties_go_to_the_first_network() -> None:
    """Two networks of exactly the same cross-entropy on every sample, whose logits differ by a constant."""
    method = KDCL(students=2, variant="naive")
    labels = torch.tensor([0, 1, 2])
    first = torch.tensor([[2.0, 1, 0, 0], [1, 2, 0, 0], [1, 0, 2, 0]])
    second = first + 4
    assert torch.equal(method.ensemble(torch.stack([first, second]), of(labels), Clock()), first)
    assert torch.equal(method.ensemble(torch.stack([second, first]), of(labels), Clock()), second)


def test_general_learns_its_weights_from_the_epoch_before() -> None:
    method = assembled_kdcl(students=3, variant="general")
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(3, 4, 20, CLASSES, generator=generator) * torch.tensor([0.5, 1.0, 3.0]).view(3, 1, 1, 1)
    labels = torch.randint(CLASSES, (4, 20), generator=generator)

    def epoch(number: int, sizes: tuple[int, ...] = (20, 20, 20, 7)) -> list[Tensor]:
        return [
            method.ensemble(clean[:, s, :size], of(labels[s, :size]), Clock(number, 4, s, len(sizes))).clone()
            for s, size in enumerate(sizes)
        ]

    for s, target in enumerate(epoch(0)):
        torch.testing.assert_close(target, clean[:, s, : len(target)].mean(0))  # nothing is known yet
    everything = torch.cat([clean[:, s, :size] for s, size in enumerate((20, 20, 20, 7))], dim=1)
    covariance = targets.error_covariance(everything, torch.cat([labels[s, :size] for s, size in enumerate((20, 20, 20, 7))]))
    for s, target in enumerate(epoch(1, (20, 20))):
        torch.testing.assert_close(target, targets.general(clean[:, s], labels[s], covariance), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(target, clean[:, s].mean(0), atol=1e-2)
    halved = targets.error_covariance(clean[:, :2].flatten(1, 2), labels[:2].flatten())
    torch.testing.assert_close(epoch(2)[0], targets.general(clean[:, 0], labels[0], halved), rtol=1e-3, atol=1e-4)


def test_parts_of_a_first_batch_count_as_one_epoch() -> None:
    """With gradient accumulation a step is taken several times at the same moment."""
    method = assembled_kdcl(students=2, variant="general")
    logits, labels = torch.randn(2, 8, CLASSES), torch.arange(8) % CLASSES
    method.ensemble(logits, of(labels), Clock(0, 3, 0, 1))
    for part in (slice(0, 4), slice(4, 8)):
        method.ensemble(logits[:, part], of(labels[part]), Clock(1, 3, 0, 1))
    torch.testing.assert_close(method.covariance, targets.error_covariance(logits, labels))
    torch.testing.assert_close(method.errors / method.seen, targets.error_covariance(logits, labels))


def test_the_estimate_is_part_of_the_state_and_only_where_it_is_needed() -> None:
    method = assembled_kdcl(variant="general")
    train(method, optimizer_of(method), range(5))
    state = method.state_dict()
    again = assembled_kdcl(variant="general")
    again.load_state_dict(state)
    assert {name: float(value.sum()) for name, value in again.named_buffers() if "." not in name} == {
        name: float(value.sum()) for name, value in method.named_buffers() if "." not in name
    }
    assert int(method.epoch) == 2
    assert not torch.equal(method.covariance, torch.eye(2))
    assert not any("." not in name for name, _ in assembled_kdcl().named_buffers())


def test_one_forward_each_and_graphs_of_their_own() -> None:
    method = assembled_kdcl(students=3)
    counts = [0, 0, 0]
    for k in range(3):

        def count(*_: object, k: int = k) -> None:
            counts[k] += 1

        method.group[k].register_forward_hook(count)
    for losses in updates(method, optimizer_of(method), batch_for(method)):
        assert len(losses) == 6
    assert counts == [1, 1, 1]


def test_the_target_has_no_gradient() -> None:
    for variant in (*ENSEMBLES, "general"):
        method = assembled_kdcl(variant=variant)
        losses = next(method.step(batch_for(method), Clock()))
        other = list(method.group[1].parameters())
        assert all(g is None for g in torch.autograd.grad(losses["student0/imitation"], other, allow_unused=True))


def test_weight_zero_is_separate_training() -> None:
    method, alone = assembled_kdcl(weight=0.0, label_weight=1.0), built_method("baseline")
    train(method, optimizer_of(method), range(3))
    train(alone, optimizer_of(alone), range(3))
    for name, value in snapshot(alone.group[0]).items():
        torch.testing.assert_close(snapshot(method.group[0])[name], value)
