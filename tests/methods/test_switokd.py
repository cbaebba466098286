"""SwitOKD: roles, the threshold against a loop, and who is updated by a batch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import LabelMix, LabelTargets
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods import SwitOKD
from studygroup.methods.switokd import label_distribution
from tests.methods.tiny import CLASSES, batch_for, built_method, tiny, wider

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def switokd(students: int = 2, teachers: int = 1) -> SwitOKD:
    method = built_method("switokd", {"students": students, "teachers": teachers})
    assert isinstance(method, SwitOKD)
    return method


def guess(right: int, shift: int, strength: float = 6.0) -> Tensor:
    """Confident logits that are right about the first `right` samples; of others they name the class `shift` after the right one."""
    named = torch.where(torch.arange(6) < right, LABELS, (LABELS + shift) % CLASSES)
    return strength * F.one_hot(named, CLASSES).float()


AHEAD, BEHIND = guess(5, 1), guess(0, 2)


def distance(p: list[list[float]], q: list[list[float]]) -> float:
    return sum(abs(a - b) for one, other in zip(p, q, strict=True) for a, b in zip(one, other, strict=True)) / len(p)


@pytest.mark.parametrize("seed", range(8))
def test_the_threshold_against_a_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    teacher = 2 * torch.randn(6, CLASSES, generator=generator) + guess(5, 1, seed / 2)
    student = torch.randn(6, CLASSES, generator=generator) + guess(0, 2, seed / 2)
    p_t, p_s, y = teacher.softmax(-1).tolist(), student.softmax(-1).tolist(), F.one_hot(LABELS, CLASSES).tolist()
    gap, d_s, d_t = distance(p_t, p_s), distance(p_s, y), distance(p_t, y)
    expected = gap > d_s - math.exp(-d_t / (d_s + d_t)) * d_t and d_t < d_s
    assert switokd().too_far_ahead(teacher, student, LabelTargets(LABELS)) == expected


def test_both_answers_occur() -> None:
    method, targets = switokd(), LabelTargets(LABELS)
    assert method.too_far_ahead(AHEAD, BEHIND, targets)
    assert not method.too_far_ahead(BEHIND, AHEAD, targets), "it is behind"
    assert not method.too_far_ahead(AHEAD, AHEAD, targets), "there is no gap"
    assert not method.too_far_ahead(guess(6, 1), guess(6, 1, 1.0), targets), "it is more confident in the same classes"


def test_mixed_labels_are_mixed_distributions() -> None:
    targets = LabelTargets(torch.tensor([0, 2]), LabelMix(torch.tensor([1, 2]), torch.tensor([0.75, 0.6])))
    torch.testing.assert_close(label_distribution(targets, torch.zeros(2, 4)), torch.tensor([[0.75, 0.25, 0, 0], [0, 0, 1.0, 0]]))
    plain = label_distribution(LabelTargets(torch.tensor([3])), torch.zeros(1, 4))
    assert plain.tolist() == [[0, 0, 0, 1]]


def test_the_largest_networks_are_teachers() -> None:
    assert switokd(3).ahead == [2], "of equal ones the last"
    method = built_method("switokd", {"students": 3}, peers=(wider, tiny))
    assert isinstance(method, SwitOKD)
    assert method.ahead == [1]
    assert method.candidates == ("student0", "student2")


@pytest.mark.parametrize(("teachers", "logits", "paused"), [
    (1, [BEHIND, AHEAD], [1]),
    (1, [AHEAD, AHEAD], []),
    (1, [BEHIND, AHEAD, AHEAD], []),  # too far ahead of the first only
    (1, [BEHIND, BEHIND, AHEAD], [2]),
    (2, [BEHIND, BEHIND, AHEAD], [2]),
    (2, [BEHIND, AHEAD, AHEAD], [1, 2]),
])  # fmt: skip
def test_losses_against_the_formula(teachers: int, logits: list[Tensor], paused: list[int]) -> None:
    count = len(logits)
    method = switokd(count, teachers)
    batch = batch_for(method, count=6)
    batch = type(batch)(batch.inputs, LABELS, batch.indices)
    for k in range(count):
        losses = method.losses_of(k, logits, batch)
        if k in paused:
            assert losses == {}
            continue
        is_teacher = k >= count - teachers
        others = [j for j in range(count) if j != k]
        if is_teacher:
            others = [j for j in others if j >= count - teachers or not method.too_far_ahead(logits[k], logits[j], batch.targets)]
        torch.testing.assert_close(losses[f"student{k}/cross_entropy"], cross_entropy(logits[k], LABELS))
        expected = sum((soft_kl(logits[k], logits[j]) for j in others), torch.zeros(()))
        torch.testing.assert_close(losses[f"student{k}/imitation"], expected)


def test_a_paused_teacher_gets_no_gradient() -> None:
    """The teacher always says class 0, which is right about ten of twelve samples; the student says class 2."""
    method = switokd()
    with torch.no_grad():
        for network, named in zip((method.group[0], method.group[1]), (2, 0), strict=True):
            network.get_parameter("classifier.weight").zero_()
            network.get_parameter("classifier.bias").copy_(8.0 * F.one_hot(torch.tensor(named), CLASSES))
    batch = batch_for(method)
    batch = type(batch)(batch.inputs, torch.tensor([0] * 10 + [1] * 2), batch.indices)
    (losses,) = method.step(batch, Clock())
    assert {name.split("/")[0] for name in losses} == {"student0"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is None for p in method.group[1].parameters())
    assert any(p.grad is not None for p in method.group[0].parameters())


def test_a_student_must_be_left() -> None:
    with pytest.raises(UserError, match="teachers is 2 of 2 networks; at least one must be a student"):
        SwitOKD(teachers=2)
