"""Contrastive representation distillation: what the memories hold, who is drawn, and that a resumed run has the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.losses import MemoryBank, contrastive_representation
from studygroup.methods import CRD, create_method
from studygroup.methods import crd as module
from studygroup.networks import NetworkFactory
from tests.methods.tiny import CLASSES, SAMPLES, batch_for, built_method, maker, optimizer_of, tiny, train, trained_teacher


def assembled_crd(**options: Any) -> CRD:
    method = built_method("crd", {"negatives": 7, "dimensions": 6, **options})
    assert isinstance(method, CRD)
    return method


def step(method: CRD, number: int = 0, clock: Clock | None = None, rows: Tensor | None = None) -> dict[str, Tensor]:
    batch = batch_for(method, number)
    batch = replace(batch, labels=method.labels)  # the labels that the training set has at these positions
    (losses,) = method.step(batch if rows is None else batch.take(rows), clock or Clock())
    return losses


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """Record the arguments of the loss: embeddings of student and teacher, and candidates."""
    seen: list[tuple[Tensor, ...]] = []

    def spy(student: Tensor, teacher: Tensor, ours: MemoryBank, theirs: MemoryBank, candidates: Tensor) -> Tensor:
        seen.append((student.detach(), teacher.detach(), candidates))
        return contrastive_representation(student, teacher, ours, theirs, candidates)

    monkeypatch.setattr(module, "contrastive_representation", spy)
    return seen


def test_candidates_are_the_sample_then_negatives_of_other_classes(drawn: list[tuple[Tensor, ...]]) -> None:
    method = assembled_crd()
    rows = torch.tensor([3, 11, 4, 0])
    step(method, rows=rows)
    ((student, teacher, candidates),) = drawn
    assert student.shape == teacher.shape == (4, 6)
    torch.testing.assert_close(student.norm(dim=1), torch.ones(4))
    assert candidates.shape == (4, 1 + 7)
    assert torch.equal(candidates[:, 0], rows)
    assert (method.labels[candidates[:, 1:]] != method.labels[rows][:, None]).all()
    assert all(len(set(row.tolist())) == 8 for row in candidates), "as long as there are enough, none comes twice"


def test_negatives_repeat_if_there_are_too_few(drawn: list[tuple[Tensor, ...]]) -> None:
    method = assembled_crd(negatives=50)
    step(method)
    ((_, _, candidates),) = drawn
    assert candidates.shape == (SAMPLES, 51)
    assert (method.labels[candidates[:, 1:]] != method.labels[:, None]).all()


def test_draws_follow_the_moment_alone(drawn: list[tuple[Tensor, ...]]) -> None:
    for clock in (Clock(seed=1), Clock(seed=1), Clock(seed=2), Clock(seed=1, step=1, steps=2)):
        torch.manual_seed(len(drawn))
        step(assembled_crd(), clock=clock)
    first, same, *others = (candidates for _, _, candidates in drawn)
    assert torch.equal(first, same)
    assert not any(torch.equal(first, other) for other in others)


def test_the_loss_by_the_formula(drawn: list[tuple[Tensor, ...]]) -> None:
    method = assembled_crd(weight=0.5)
    banks = {name: getattr(method, f"{name}_memory").vectors.clone().double() for name in ("student", "teacher")}
    found = step(method)["student0/contrast"]
    ((student, teacher, candidates),) = drawn
    total = 0.0
    for anchors, bank in ((student.double(), banks["teacher"]), (teacher.double(), banks["student"])):
        scores = torch.stack([torch.stack([((anchors[i] @ bank[j]) / 0.07).exp() for j in candidates[i].tolist()]) for i in range(SAMPLES)])
        p = scores / (scores.mean() * SAMPLES)
        noise = 7 / SAMPLES
        likelihood = (p[:, 0] / (p[:, 0] + noise + 1e-7)).log() + (noise / (p[:, 1:] + noise + 1e-7)).log().sum(1)
        total -= float(likelihood.mean())
    assert float(found.detach()) == pytest.approx(0.5 * total, rel=1e-4)


def test_memories_are_updated_after_the_loss(drawn: list[tuple[Tensor, ...]]) -> None:
    method = assembled_crd(momentum=0.25)
    before = {name: getattr(method, f"{name}_memory").vectors.clone() for name in ("student", "teacher")}
    rows = torch.tensor([5, 1, 8])
    step(method, rows=rows)
    for name, embeddings in zip(("student", "teacher"), drawn[0], strict=False):
        after = getattr(method, f"{name}_memory").vectors
        moved = 0.25 * before[name][rows] + 0.75 * embeddings
        torch.testing.assert_close(after[rows], moved / moved.norm(dim=1, keepdim=True))
        others = [i for i in range(SAMPLES) if i not in rows]
        assert torch.equal(after[others], before[name][others])
        assert not after.requires_grad


def test_normalisers_are_those_of_the_first_batch() -> None:
    method = assembled_crd()
    assert method.student_memory.normaliser == method.teacher_memory.normaliser == 0
    step(method)
    first = method.student_memory.normaliser.clone(), method.teacher_memory.normaliser.clone()
    assert min(first) > 0
    assert first[0] != first[1]
    step(method, 1)
    assert (method.student_memory.normaliser, method.teacher_memory.normaliser) == first


def test_memories_are_kept_and_labels_are_not() -> None:
    method = assembled_crd()
    state = method.state_dict()
    for whose in ("student", "teacher"):
        assert state[f"{whose}_memory.vectors"].shape == (SAMPLES, 6)
        assert f"{whose}_memory.normaliser" in state
    assert "labels" not in state, "the data has them"
    assert not torch.equal(state["student_memory.vectors"], state["teacher_memory.vectors"])
    assert torch.equal(dict(method.named_buffers())["labels"], torch.arange(SAMPLES) % CLASSES)


def test_a_run_without_its_memories_differs() -> None:
    method = assembled_crd()
    optimizer = optimizer_of(method)
    train(method, optimizer, range(2))
    forgetful = assembled_crd()
    fresh = {name: value for name, value in forgetful.state_dict().items() if "memory" in name}
    forgetful.load_state_dict({**method.state_dict(), **fresh})
    assert train(forgetful, optimizer_of(forgetful), range(2, 3)) != train(method, optimizer, range(2, 3))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"negatives": 0}, "negatives is 0; it must be at least 1"),
        ({"dimensions": 0}, "dimensions is 0"),
        ({"contrast_temperature": 0.0}, r"contrast_temperature is 0; it must be above 0"),
        ({"momentum": 1.0}, r"momentum is 1; it must be at least 0 and below 1"),
        ({"student_layers": ("stem", "stage1"), "teacher_layers": ("stem", "stage1")}, "2 modules of each network are named"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        assembled_crd(**options)


def test_labels_must_be_known_and_of_several_classes() -> None:
    make = maker(teacher=trained_teacher())
    make.labels = torch.zeros(SAMPLES, dtype=torch.int64)
    with pytest.raises(UserError, match="all training samples are of one class; crd needs negatives of other classes"):
        create_method("crd").build(make)
    with pytest.raises(UserError, match="the method needs the classes of all training samples; give NetworkFactory their labels"):
        create_method("crd").build(NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, teacher=trained_teacher()))
