"""Losses of batches in which some samples have no labels, against loops over the samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.data.batches import label_weights
from studygroup.losses import cross_entropy
from studygroup.methods import METHODS, Method, create_method
from studygroup.methods.mcl import contrast
from studygroup.training.meter import LossMeter
from studygroup.training.settings import Settings
from studygroup.training.updater import Updater
from tests.methods.tiny import batch_for, built_method, snapshot, trained_teacher

TAKERS = {"kd", "takd", "dgkd", "dml", "codistillation", "cgl", "mcl", "rdrop"}


def without(batch: Batch, known: Sequence[bool]) -> Batch:
    """The batch without some labels."""
    mask = np.array(known)
    labels = torch.where(torch.from_numpy(mask), batch.labels, -1)
    return replace(batch, labels=labels, label_weights=label_weights(mask, batch.student_sizes))


def softmax(logits: Tensor, temperature: float = 1.0) -> list[float]:
    powers = [math.exp(float(z.detach()) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def mean_error(logits: Tensor, batch: Batch) -> float:
    """The cross-entropy by a loop over the samples with labels."""
    found = [-math.log(softmax(z)[int(y)]) for z, y in zip(logits, batch.labels, strict=True) if y >= 0]
    return sum(found) / len(found)


def mean_divergence(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """T^2 KL(teacher || student) by a loop over all samples."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        total += sum(own * (math.log(own) - math.log(other)) for own, other in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


KNOWN = [True, False, False, True, True, False, False, False, True, False, False, False]


def test_kd_on_a_mixed_batch() -> None:
    method = built_method("kd", {"alpha": 0.6, "temperature": 3.0})
    batch = without(batch_for(method), KNOWN)
    student, teacher = method.group[0](batch.inputs), trained_teacher().eval()(batch.inputs)
    losses = next(method.step(batch, Clock()))
    assert float(losses["student0/cross_entropy"].detach()) == pytest.approx(0.4 * mean_error(student, batch), rel=1e-5)
    assert float(losses["student0/distillation"].detach()) == pytest.approx(0.6 * mean_divergence(student, teacher, 3.0), rel=1e-4)


def test_dml_on_a_mixed_batch() -> None:
    method = built_method("dml", {"temperature": 2.0})
    batch = without(batch_for(method), KNOWN)
    logits = method.group(batch.inputs)
    losses = next(method.step(batch, Clock()))
    for k in range(2):
        assert float(losses[f"student{k}/cross_entropy"].detach()) == pytest.approx(mean_error(logits[k], batch), rel=1e-5)
        assert float(losses[f"student{k}/mimicry"].detach()) == pytest.approx(mean_divergence(logits[k], logits[1 - k], 2.0), rel=1e-4)


def test_cgl_on_a_mixed_batch() -> None:
    method = built_method("cgl", {"students": 2, "probability": 1.0, "division": "none", "routing": False, "temperature": 3.0})
    batch = without(batch_for(method), KNOWN)
    logits = method.group(batch.inputs)
    losses = next(method.step(batch, Clock(epoch=3, epochs=4)))
    for k in range(2):
        assert float(losses[f"student{k}/cross_entropy"].detach()) == pytest.approx(mean_error(logits[k], batch), rel=1e-5)
        assert float(losses[f"student{k}/imitation"].detach()) == pytest.approx(mean_divergence(logits[k], logits[1 - k], 3.0), rel=1e-4)


def test_mcl_contrasts_the_labelled_and_imitates_all() -> None:
    method = built_method("mcl")
    plain = batch_for(method)
    batch, shuffled = without(plain, KNOWN), without(replace(plain, labels=plain.labels.flip(0)), KNOWN)
    found, other, whole = (next(method.step(one, Clock())) for one in (batch, shuffled, plain))
    for name in found:
        needs_labels = name.rpartition("/")[2] in ("cross_entropy", "vanilla", "interactive")
        assert torch.equal(found[name], whole[name]) != needs_labels, name
        assert torch.equal(found[name], other[name]) != needs_labels, name
    similar = torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    known = [number for number in range(12) if KNOWN[number]]
    labels = torch.tensor([number % 2 if KNOWN[number] else -1 for number in range(12)])
    total, samples = 0.0, 0
    for a in known:
        positives = [p for p in known if p != a and labels[p] == labels[a]]
        normaliser = sum(math.exp(float(similar[a, b].detach())) for b in known if b != a)
        total += sum(math.log(normaliser) - float(similar[a, p].detach()) for p in positives) / max(len(positives), 1)
        samples += bool(positives)
    assert float(contrast(similar, labels).detach()) == pytest.approx(total / samples)
    assert torch.autograd.gradcheck(lambda s: contrast(s, labels), (similar,))
    alone = contrast(similar, torch.tensor([0] + [-1] * 11))
    alone.backward()
    assert float(alone.detach()) == 0
    assert similar.grad is not None
    assert torch.count_nonzero(similar.grad) == 0


def test_the_cross_entropy_has_no_gradient_of_samples_without_labels() -> None:
    method = built_method("kd")
    batch = without(batch_for(method), KNOWN)
    logits = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, batch.targets), logits)
    assert (gradient.abs().sum(1) > 0).tolist() == KNOWN
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, batch.targets), (logits,))
    known = torch.tensor(KNOWN)
    torch.testing.assert_close(cross_entropy(logits, batch.targets), cross_entropy(logits[known], batch.labels[known]))


@pytest.mark.parametrize(
    ("name", "options"), [("kd", {}), ("dml", {}), ("cgl", {"students": 3, "routing": False}), ("codistillation", {"burn_in": 0.0})]
)
def test_microbatches_add_up(name: str, options: dict[str, Any]) -> None:
    """Gradients of parts, some without any label, are those of the whole batch; batch norm apart, which is why it is in eval mode."""

    def weights(parts: int) -> dict[str, Tensor]:
        method = built_method(name, options).eval()
        settings = Settings(epochs=4, batch_size=12, microbatches=parts, precision="float32", progress=False)
        batch = batch_for(method)
        known = [number % 3 == 0 for number in range(len(batch))]
        Updater(method, settings, torch.device("cpu")).step(without(batch, known), Clock(1, 4, 0, 1), LossMeter())
        return snapshot(method)

    whole = weights(1)
    for name_, value in weights(4).items():
        torch.testing.assert_close(value, whole[name_], rtol=1e-4, atol=1e-6)


def test_which_methods_take_them() -> None:
    assert {name for name, kind in METHODS.items() if kind.takes_unlabelled} == TAKERS
    assert not create_method("dml").needs_all_labels()
    for name in ("kd", "dml", "cgl", "codistillation"):
        assert "dkd, which needs the label" in create_method(name, {"logit_loss": "dkd"}).needs_all_labels()
    assert not Method.takes_unlabelled
