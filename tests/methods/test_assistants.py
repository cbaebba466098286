"""Teacher assistants: one teacher at a time, or all at once with some left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.methods import DGKD, KD, TAKD
from tests.methods.tiny import CLASSES, batch_for, built_method, maker, optimizer_of, snapshot, train, trained_teacher, wider


def distance(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the divergence's terms (B, C)."""
    p, q = (F.softmax(z / temperature, -1) for z in (teacher, student))
    return temperature**2 * p * (p.log() - q.log())


def dgkd(count: int, **options: Any) -> DGKD:
    """A student with as many teachers."""
    method = built_method("dgkd", {"assistants": ("resnet8",) * (count - 1), **options})
    assert isinstance(method, DGKD)
    assert len(method.teachers) == count
    return method


def test_takd_is_distillation_from_one_teacher() -> None:
    kd, takd = built_method("kd"), built_method("takd", {"assistants": ("resnet20", "resnet8")})
    assert train(kd, optimizer_of(kd), range(3)) == train(takd, optimizer_of(takd), range(3))
    assert all(torch.equal(value, snapshot(takd)[name]) for name, value in snapshot(kd).items())


def test_takds_code_has_the_mean_over_classes() -> None:
    assert (KD().alpha, KD().temperature) == (TAKD().alpha, TAKD().temperature)
    method = built_method("takd", {"preset": "takd", "alpha": 0.3, "temperature": 2.0})
    batch = batch_for(method)
    student, teacher = method.group[0](batch.inputs), trained_teacher().eval()(batch.inputs)
    losses = next(method.step(batch, Clock()))
    torch.testing.assert_close(losses["student0/cross_entropy"], 0.7 * F.cross_entropy(student, batch.labels))
    torch.testing.assert_close(losses["student0/distillation"], 0.3 * distance(student, teacher, 2.0).mean())


@pytest.mark.parametrize(
    ("options", "alpha", "temperature", "share"),
    [
        ({}, 0.9, 4.0, 1.0),
        ({"preset": "dgkd"}, 1.0, 5.0, 1 / CLASSES),
        ({"preset": "dgkd", "alpha": 0.5, "drop": 0}, 1.0, 5.0, 1 / CLASSES),
    ],
)
def test_losses_against_the_formula(options: dict[str, Any], alpha: float, temperature: float, share: float) -> None:
    method = dgkd(3, **options)
    batch, clock = batch_for(method), Clock(step=3, steps=9)
    taught = method.draw_teachers(clock)
    assert len(taught) == 2, "one of three is left out, by the code's values, too"
    student = method.group[0](batch.inputs)
    terms = [distance(student, method.teachers[j](batch.inputs), temperature).sum(-1).mean() for j in taught]
    losses = next(method.step(batch, clock))
    torch.testing.assert_close(losses["student0/cross_entropy"], (1 - alpha) * F.cross_entropy(student, batch.labels))
    torch.testing.assert_close(losses["student0/distillation"], alpha * share * (terms[0] + terms[1]))


def test_teachers_differ_and_are_in_order() -> None:
    method = dgkd(3)
    weights = [next(teacher.parameters()) for teacher in method.teachers]
    assert weights[0].shape == next(wider().parameters()).shape
    assert weights[1].shape == weights[2].shape
    assert not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize(("count", "drop", "left"), [(1, 1, 1), (2, 1, 1), (3, 1, 2), (3, 2, 1), (3, 7, 1), (3, 0, 3)])
def test_dropped_teachers_are_never_all(count: int, drop: int, left: int) -> None:
    method = dgkd(count, drop=drop)
    for step in range(20):
        drawn = method.draw_teachers(Clock(step=step, steps=20))
        assert len(drawn) == left
        assert drawn == sorted(set(drawn))


def test_dropped_teachers_are_uniform_and_depend_on_the_clock_only() -> None:
    method = dgkd(3)
    clocks = [Clock(epoch=epoch, epochs=20, step=step, steps=30, seed=5) for epoch in range(20) for step in range(30)]
    drawn = [tuple(method.draw_teachers(clock)) for clock in clocks]
    counts = Counter(drawn)
    assert set(counts) == {(0, 1), (0, 2), (1, 2)}, "the teacher, too, may be left out"
    assert all(150 < count < 250 for count in counts.values())  # 200 +- 4 standard deviations
    torch.manual_seed(1)
    assert drawn == [tuple(method.draw_teachers(clock)) for clock in clocks]


def test_dropped_teachers_do_not_run() -> None:
    method = dgkd(3, drop=2)
    ran: list[int] = []
    for j, teacher in enumerate(method.teachers):
        teacher.register_forward_pre_hook(lambda *_, j=j: ran.append(j))
    for step in range(5):
        clock = Clock(step=step, steps=5)
        next(method.step(batch_for(method), clock))
        assert ran == method.draw_teachers(clock)
        ran.clear()


def test_gradient_reaches_the_student_through_every_teacher() -> None:
    method = dgkd(2, drop=0)
    batch: Batch = batch_for(method)
    next(method.step(batch, Clock()))["student0/distillation"].backward()
    assert all(p.grad is not None for p in method.group.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in method.teachers.parameters())


def test_factories_with_several_teachers() -> None:
    first, second = trained_teacher(), wider()
    make = maker(teacher=first, more_teachers=[second])
    assert make.teachers == (first, second)
    assert make.teacher is first
    assert torch.equal(next(make.trained(1).parameters()), next(second.parameters()))
    assert make.trained(1) is not second
    with pytest.raises(UserError, match="no teacher 2: 2 were given"):
        make.trained(2)
    with pytest.raises(UserError, match="the method needs a trained network"):
        maker().trained()


@pytest.mark.parametrize("kind", [TAKD, DGKD])
def test_assistants_are_a_list(kind: type[TAKD | DGKD]) -> None:
    for wrong in ("resnet20", 3):
        with pytest.raises(UserError, match=rf"assistants is {wrong!r}; it must be a list"):
            kind(assistants=wrong)  # type: ignore[arg-type]
