"""Images at the decision boundary: which are moved, where to and how, and when there are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.groups import Frozen
from studygroup.losses import cross_entropy, soft_cross_entropy
from studygroup.methods import BSS
from studygroup.methods.bss import draw_targets
from tests.methods.tiny import CLASSES, batch_for, built_method, images, snapshot

EARLY = Clock(epoch=0, epochs=80)


def built_bss(**options: Any) -> BSS:
    method = built_method("bss", options)
    assert isinstance(method, BSS)
    return method


def agreed(method: BSS, count: int) -> Batch:
    """A batch that both networks classify correctly in its first `count` samples, and the teacher wrongly in all others."""
    batch = batch_for(method)
    with torch.no_grad():
        teacher = method.teacher(batch.inputs).argmax(-1)
        linear = method.group[0].classifier
        assert isinstance(linear, nn.Linear)
        linear.weight.zero_()
        linear.bias.zero_()
        linear.bias[teacher.mode().values] = 1.0  # the student says what the teacher says most often
    said = teacher == teacher.mode().values
    assert said.sum() >= count
    right = said & (said.cumsum(0) <= count)
    return replace(batch, labels=torch.where(right, teacher, (teacher + 1) % CLASSES))


def losses_of(method: BSS, batch: Batch, clock: Clock = EARLY) -> dict[str, Tensor]:
    (losses,) = method.step(batch, clock)
    return losses


@pytest.mark.parametrize(
    ("epoch", "plain", "boundary"),
    [
        (0, 1 + 3 * 79 / 80, 2 * (1 - 4 / 240)),
        (39, 2.5, 2 / 3),
        (58, 1 + 3 * 21 / 80, 2 * (1 - 236 / 240)),
        (59, 1.75, 0.0),
        (79, 1.0, 0.0),
    ],
)
def test_the_schedule_is_that_of_80_epochs(epoch: int, plain: float, boundary: float) -> None:
    method = BSS()
    assert method.weights(Clock(epoch=epoch, epochs=80)) == pytest.approx((plain, boundary), abs=1e-12)
    assert method.weights(Clock(epoch=epoch, epochs=80, step=3, steps=5)) == method.weights(Clock(epoch=epoch, epochs=80))
    if (epoch + 1) % 4 == 0:
        assert method.weights(Clock(epoch=(epoch + 1) // 4 - 1, epochs=20)) == pytest.approx((plain, boundary), abs=1e-12)


def test_losses_before_the_boundary() -> None:
    method = built_bss()
    batch = agreed(method, 0)
    student, teacher = method.export("student0").train(), method.teacher
    losses = losses_of(method, batch)
    assert set(losses) == {"student0/cross_entropy", "student0/distillation"}, "nobody to move"
    with torch.no_grad():
        z, t = student(batch.inputs), teacher(batch.inputs)
    torch.testing.assert_close(losses["student0/cross_entropy"], cross_entropy(z, batch.labels))
    softened = -((t / 3).softmax(-1) * (z / 3).log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(losses["student0/distillation"], (1 + 3 * 79 / 80) * softened)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_two_samples_are_needed(count: int) -> None:
    method = built_bss()
    batch = agreed(method, count)
    losses = losses_of(method, batch)
    assert ("student0/boundary" in losses) == (count > 1)
    torch.stack(list(losses.values())).sum().backward()
    # Two forward passes in train mode: the batch, and the moved images.
    assert method.group[0].get_buffer("stem.1.num_batches_tracked") == (2 if count > 1 else 1)
    assert "student0/boundary" not in losses_of(method, batch, Clock(epoch=60, epochs=80)), "it has faded out"


def test_the_boundary_loss_by_the_formula() -> None:
    method = built_bss(boundary_weight=1.2)
    batch = agreed(method, 3)
    base = (method.teacher(batch.inputs).argmax(-1) == batch.labels).nonzero().flatten()
    assert len(base) == 3
    student = method.export("student0").train()
    targets = draw_targets(method.teacher(batch.inputs), batch.labels, EARLY.generator("targets"))
    moved = method.attack(batch.inputs[base], batch.labels[base], targets[base])
    with torch.no_grad():
        expected = 1.2 * (1 - 4 / 240) * soft_cross_entropy(student(moved), method.teacher(moved), 3.0)
    torch.testing.assert_close(losses_of(method, batch)["student0/boundary"], expected)


def test_the_attack_leaves_no_trace_in_the_teacher() -> None:
    method = built_bss()
    before = snapshot(method.teacher)
    losses_of(method, agreed(method, 3))["student0/boundary"].backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in snapshot(method.teacher).items())
    assert method.group[0].get_parameter("stem.0.weight").grad is not None


def test_base_samples_by_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 300, CLASSES, generator=generator)
    labels = torch.randint(CLASSES, (300,), generator=generator)
    p, q = student.softmax(-1), teacher.softmax(-1)
    right = [i for i in range(300) if student[i].argmax() == labels[i] == teacher[i].argmax()]
    assert len(right) > 3
    apart = {i: sum(float(q[i, c] - p[i, c]) ** 2 for c in range(CLASSES) if c != labels[i]) for i in right}
    assert BSS().base(student, teacher, labels).nonzero().flatten().tolist() == right
    assert BSS(base_samples=3).base(student, teacher, labels).nonzero().flatten().tolist() == sorted(
        sorted(right, key=lambda i: -apart[i])[:3]
    )


def test_targets_are_drawn_from_the_teachers_wrong_classes() -> None:
    logits = torch.tensor([3.0, 1.0, 0.0, -1.0])
    count = 20_000
    drawn = draw_targets(logits.expand(count, -1), torch.ones(count, dtype=torch.int64), torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / count
    wrong = logits.softmax(-1)
    wrong[1] = 0
    assert shares[1] == 0
    torch.testing.assert_close(shares, wrong / wrong.sum(), rtol=0.0, atol=0.015)


def test_targets_of_a_teacher_that_is_sure() -> None:
    """All other probabilities are 0 in float32; there is still a likeliest wrong class."""
    logits = torch.tensor([[500.0, 0.0, 300.0, -50.0], [-50.0, 0.0, 0.0, 500.0]])
    for seed in range(20):
        drawn = draw_targets(logits, torch.tensor([0, 3]), torch.Generator().manual_seed(seed)).tolist()
        assert drawn[0] == 2
        assert drawn[1] in (1, 2)


def decided(method: BSS) -> BSS:
    """With a teacher that has opinions: two layers of random weights."""
    torch.manual_seed(3)
    method.teacher = Frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, CLASSES)))
    return method


def by_hand(teacher: nn.Module, image: Tensor, label: int, target: int, steps: int) -> Tensor:
    """The attack on one image (1, ...)."""
    for _ in range(steps):
        x = image.clone().requires_grad_()
        scores = teacher(x)[0]
        if int(scores.argmax()) != label:
            return image
        (gradient,) = torch.autograd.grad(scores[target] - scores[label], x)
        length = 0.3 * (scores[label] - scores[target] + 1e-4).detach()
        image = (image + length * gradient / gradient.norm()).clamp(-2.5, 2.5)
    return image


@pytest.mark.parametrize("steps", [1, 4, 40])
def test_the_attack_against_a_loop(steps: int) -> None:
    method = decided(built_bss(steps=steps))
    inputs = images(6, seed=5)
    labels = method.teacher(inputs).argmax(-1)
    targets = (labels + 1) % CLASSES
    moved = method.attack(inputs, labels, targets)
    assert not moved.requires_grad
    assert moved.abs().max() <= 2.5
    for i in range(6):
        expected = by_hand(method.teacher.network, inputs[i : i + 1], int(labels[i]), int(targets[i]), steps)
        torch.testing.assert_close(moved[i : i + 1], expected.clamp(-2.5, 2.5), rtol=1e-4, atol=1e-5)

    def lead(x: Tensor) -> Tensor:
        scores = method.teacher(x)
        difference: Tensor = scores.gather(1, labels[:, None]) - scores.gather(1, targets[:, None])
        return difference

    assert (lead(moved) < lead(inputs.clamp(-2.5, 2.5))).all()
    if steps == 40:
        assert (method.teacher(moved).argmax(-1) != labels).any(), "some have crossed, and were left there"


def test_images_that_have_crossed_stay() -> None:
    method = decided(built_bss(steps=1000))
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    method.teacher.network.register_forward_hook(count)
    inputs = images(6, seed=5)
    labels = method.teacher(inputs).argmax(-1)
    likely = method.teacher(inputs).topk(2).indices[:, 1]
    calls = 0
    moved = method.attack(inputs, labels, likely)
    assert calls < 1000, "it ends when all have crossed"
    assert (method.teacher(moved).argmax(-1) != labels).all()


def test_an_empty_shard_of_boundary_images_runs() -> None:
    """As on a rank that has none of the base samples."""
    method = built_bss()
    none = torch.zeros(0, dtype=torch.int64)
    assert method.attack(images(0, seed=0), none, none).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 0.0}, "temperature is 0; it must be above 0"),
        ({"start": -1.0}, "start is -1; it must be at least 0"),
        ({"end": -1.0}, "end is -1"),
        ({"boundary_weight": -1.0}, "boundary_weight is -1"),
        ({"boundary_share": 0.0}, r"boundary_share is 0; it must be above 0 and at most 1"),
        ({"base_samples": 1}, "base_samples is 1; it must be at least 2"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"step_size": 0.0}, "step_size is 0; it must be above 0"),
        ({"clip": 0.0}, "clip is 0; it must be above 0"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        BSS(**options)
