"""Batch norm of shared modules over the token positions of texts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from studygroup.distributed.batch_norm import SyncBatchNormMode
from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.groups.norm import PooledBatchNorm, RouteBatchNorm, StudentBatchNorm, replace_norms
from studygroup.groups.target import target_mode
from studygroup.networks.padded import Padded, TokenPositions
from studygroup.networks.vdcnn import ConvolutionBlock

# student -> lengths of its texts: one has empty texts among others, one nothing but empty texts
LENGTHS = {2: (5, 0, 3), 0: (1, 7), 3: (0, 0), 1: (4, 4, 6, 2)}
STUDENTS = 4
WIDTH = 7


def block(shortcut: bool = True) -> ConvolutionBlock:
    torch.manual_seed(0)
    made = ConvolutionBlock(3, 4, halve=True, shortcut=shortcut).double()
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
                assert module.running_mean is not None
                module.running_mean.normal_(std=0.1)
    return made


def texts(lengths: Sequence[int], seed: int = 0) -> Padded:
    mask = torch.arange(WIDTH) < torch.tensor(lengths).unsqueeze(1)
    values = torch.randn(len(lengths), WIDTH, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Padded(values * mask.unsqueeze(-1), mask)


def every() -> Padded:
    parts = [texts(lengths, student) for student, lengths in LENGTHS.items()]
    return Padded(torch.cat([part.values for part in parts]), torch.cat([part.mask for part in parts]))


def by_student(module: nn.Module, students: int = STUDENTS) -> list[StudentBatchNorm]:
    """Replace the norms of a block by student norms, with the segments of `every`."""
    norms = cast(list[StudentBatchNorm], replace_norms(module, partial(StudentBatchNorm, students=students)))
    for norm in norms:
        norm.segments = [(student, len(lengths)) for student, lengths in LENGTHS.items()]
    return norms


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shortcut", [True, False])
def test_per_student_equals_a_loop_over_students(training: bool, shortcut: bool) -> None:
    """Outputs, gradients and running statistics equal those of separate networks."""
    shared, alone = block(shortcut), block(shortcut)
    by_student(shared)
    shared.train(training)
    batched_call = shared(every())
    parts = batched_call.values.split([len(lengths) for lengths in LENGTHS.values()])
    weights = torch.randn(batched_call.values.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    (batched_call.values * weights).sum().backward()
    start = 0
    for (student, lengths), part in zip(LENGTHS.items(), parts, strict=True):
        own = copy.deepcopy(block(shortcut)).train(training)
        for parameter, other in zip(own.parameters(), alone.parameters(), strict=True):
            parameter.data = other.data  # one set of weights
        expected = own(texts(lengths, student)).values
        torch.testing.assert_close(part, expected)
        (expected * weights[start : start + len(lengths)]).sum().backward()
        start += len(lengths)
        for parameter, other in zip(own.parameters(), alone.parameters(), strict=True):
            if parameter.grad is not None:
                other.grad = parameter.grad if other.grad is None else other.grad + parameter.grad
        plain = copy.deepcopy(shared)
        replace_norms(plain, lambda norm, student=student: cast(RouteBatchNorm, norm).to_batch_norm(student))  # type: ignore[misc]
        assert {type(norm) for norm in plain.modules() if "Norm" in type(norm).__name__} == {nn.BatchNorm1d}
        for (key, value), buffer in zip(plain.named_buffers(), own.buffers(), strict=True):
            if "num_batches" not in key:
                torch.testing.assert_close(value, buffer, msg=f"{key} of student {student}")
    for (key, parameter), other in zip(shared.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=key)


def test_per_student_targets_update_no_statistics() -> None:
    shared = block().train()
    norms = by_student(shared)
    before = [buffer.clone() for buffer in shared.buffers()]
    with torch.no_grad(), target_mode(shared):
        found = shared(every())
    assert all(torch.equal(buffer, value) for buffer, value in zip(shared.buffers(), before, strict=True))
    torch.testing.assert_close(found.values, shared(every()).values)
    assert all(norm.counts is None for norm in norms), "counts are reset by the call"


@pytest.mark.parametrize("training", [True, False])
def test_no_student_has_tokens(training: bool) -> None:
    shared = block().train(training)
    norms = by_student(shared)
    for norm in norms:
        norm.segments = [(1, 2), (0, 1)]
    before = [norm.running_mean.clone() for norm in norms]
    found = shared(texts((0, 0, 0)))
    assert found.values.eq(0).all()
    assert all(torch.equal(norm.running_mean, value) for norm, value in zip(norms, before, strict=True))


def test_a_student_with_a_single_position_cannot_be_normalised() -> None:
    shared = block().train()
    for norm in by_student(shared):
        norm.segments = [(0, 2), (1, 1)]
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        shared(texts((7, 5, 2)))  # a position of the last is left when it is halved
    shared.eval()(texts((7, 5, 2)))


def test_segments_count_samples() -> None:
    shared = block().train()
    for norm in by_student(shared):
        norm.segments = [(0, 2), (1, 2)]
    with pytest.raises(UserError, match=r"the input has 3 samples, but the segments have \[2, 2\]; call a student through its group"):
        shared(texts((7, 5, 2)))
    norm = StudentBatchNorm(nn.BatchNorm1d(3), 2)
    norm.segments = [(0, 2)]
    with pytest.raises(UserError, match=r"the input has 3 samples, but the segments have \[2\]"):
        norm(torch.zeros(3, 3))


def test_no_segments_and_no_samples() -> None:
    norm = StudentBatchNorm(nn.BatchNorm1d(3), 2)
    norm.counts = torch.zeros(0, dtype=torch.int64)
    assert norm(torch.zeros(0, 3)).shape == (0, 3)


# ---------------------------------------------------------------- pooled


@pytest.mark.parametrize("training", [True, False])
def test_pooled_is_one_batch_norm_over_all_positions(training: bool) -> None:
    shared, plain = block(), block().train(training)
    replace_norms(shared, PooledBatchNorm)
    shared.train(training)
    found, expected = shared(every()), plain(every())
    torch.testing.assert_close(found.values, expected.values)
    found.values.sin().sum().backward()
    expected.values.sin().sum().backward()
    for (key, parameter), other in zip(shared.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=key)
    replace_norms(shared, lambda norm: cast(RouteBatchNorm, norm).to_batch_norm(0))
    assert {type(norm) for norm in shared.modules() if "Norm" in type(norm).__name__} == {nn.BatchNorm1d}
    for (key, value), other in zip(shared.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, msg=key)


def test_recall_normalises_by_the_last_batch_statistics() -> None:
    norm = PooledBatchNorm(nn.BatchNorm1d(3).double())
    learnt, further = texts((5, 2), 1), texts((1, 0, 4), 2)
    rows = learnt.values[learnt.mask]
    norm(rows)
    assert norm.batch_statistics is None, "only if they are asked for"
    norm.remembers = True
    norm(rows)
    norm.recall = True
    found = TokenPositions(further.mask).batch_norm(norm, further.values)
    expected = (further.values - rows.mean(0)) / (rows.var(0, unbiased=False) + norm.eps).sqrt() * further.mask.unsqueeze(-1)
    torch.testing.assert_close(found, expected)


def test_pooled_without_tokens() -> None:
    shared = block().train()
    norms = cast(list[PooledBatchNorm], replace_norms(shared, PooledBatchNorm))
    before = [norm.running_mean.clone() for norm in norms]
    assert shared(texts((0, 0))).values.eq(0).all()
    assert shared(texts(())).values.shape == (0, 4, 4)
    assert all(torch.equal(norm.running_mean, value) for norm, value in zip(norms, before, strict=True))
    assert [int(cast(Tensor, norm.num_batches_tracked)) for norm in norms] == [0, 0, 0]


class FakeRanks(DistContext):
    """Two ranks: the tensors of the other one are given; those of this one are recorded."""

    def __init__(self, others: list[Tensor]) -> None:
        super().__init__(0, 2, "students")
        self.others = others
        self.sent: list[Tensor] = []

    def all_reduce_tensor(self, tensor: Tensor, operation: Any = None) -> None:
        self.sent.append(tensor.clone())
        if self.others:
            tensor.add_(self.others.pop(0))


@pytest.mark.parametrize("mine", [(), (0, 0)])
def test_a_rank_without_tokens_takes_part_in_synchronised_batch_norm(mine: Sequence[int]) -> None:
    """All ranks call the same collectives in the same order: two sums in the forward pass of the norm, two in the backward pass."""
    theirs = texts((5, 3), 1)
    rows = theirs.values[theirs.mask]
    others = [torch.cat([rows.sum(0), torch.tensor([8.0], dtype=torch.float64)]), (rows - rows.mean(0)).square().sum(0)]
    norm = PooledBatchNorm(nn.BatchNorm1d(3).double())
    ranks, here = FakeRanks(others), texts(mine)
    with SyncBatchNormMode(ranks):
        found = TokenPositions(here.mask).batch_norm(norm, here.values.requires_grad_())
    assert [len(tensor) for tensor in ranks.sent] == [4, 3]
    assert all(tensor.eq(0).all() for tensor in ranks.sent)
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0))
    found.sum().backward()
    assert len(ranks.sent) == 4
    assert norm.weight.grad is not None
    assert norm.weight.grad.eq(0).all()
