"""Batch norm of modules that several students share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import has_torch_function_unary

from studygroup.errors import UserError


class RouteBatchNorm(_BatchNorm):
    """A batch norm inside a module of a `Modular` group. It uses the affine parameters of the batch norm it replaces.

    Attributes:
        counts: (B,) int64, number of rows of each sample in the next input; None if each row is a sample. Code that normalises the
            token positions of texts sets it before each call, which resets it.
    """

    running_mean: Tensor
    running_var: Tensor
    counts: Tensor | None = None

    def __init__(self, norm: _BatchNorm) -> None:
        """Args: norm: a batch norm with affine parameters."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.kind = type(norm)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any input that `F.batch_norm` does."""

    @property
    def tracks(self) -> bool:
        """Return whether the next call updates or uses running statistics."""
        return self.track_running_stats or not self.training

    @abstractmethod
    def statistics(self, student: int) -> tuple[Tensor, Tensor]:
        """Return a student's running mean and variance, each (features,)."""

    def to_batch_norm(self, student: int) -> nn.Module:
        """Return an ordinary batch norm with a student's running statistics and a copy of the affine parameters."""
        norm = self.kind(self.num_features, self.eps, self.momentum).to(device=self.weight.device, dtype=self.weight.dtype)
        mean, var = self.statistics(student)
        assert self.num_batches_tracked is not None
        state = {"weight": self.weight, "bias": self.bias, "running_mean": mean, "running_var": var}
        norm.load_state_dict({**state, "num_batches_tracked": self.num_batches_tracked})
        return norm.train(self.training)


class PooledBatchNorm(RouteBatchNorm):
    """Normalises the samples of all students together.

    In train mode an input is normalised by its batch statistics, which a norm that `remembers` keeps in `batch_statistics`. While `recall`
    is set, they normalise further inputs, the samples that only produce targets; if there are none, the running statistics do.

    Attributes:
        remembers: whether to keep `batch_statistics`.
        batch_statistics: mean and 1 / standard deviation, each (features,), of the last training input.
        recall: whether to normalise by `batch_statistics`.
    """

    def __init__(self, norm: _BatchNorm, *, remembers: bool = False) -> None:
        """Args: norm: a batch norm with affine parameters; its running statistics are used, too. remembers: see above."""
        super().__init__(norm)
        if norm.running_mean is not None and norm.running_var is not None:
            self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.remembers = remembers
        self.batch_statistics: tuple[Tensor, Tensor] | None = None
        self.recall = False

    def forward(self, input: Tensor) -> Tensor:
        """Args: input: (B, features, ...). Returns: the same shape."""
        if self.counts is not None:
            self.counts = None  # it does not matter which sample a row belongs to
        if not self.training or self.recall:
            mean, var = self.running_mean, self.running_var
            if self.training and self.batch_statistics is not None:
                mean, var = self.batch_statistics[0], self.batch_statistics[1].pow(-2).sub_(self.eps)
            return F.batch_norm(input, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        if input.numel() == input.shape[1] and not has_torch_function_unary(input):  # other ranks have more
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        tracked = self.track_running_stats
        if tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = 0.1 if self.momentum is None else self.momentum
        # The only function that returns the statistics it normalised by.
        output, *statistics = torch.native_batch_norm(
            input,
            self.weight,
            self.bias,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            True,
            momentum,
            self.eps,
        )
        if self.remembers:
            self.batch_statistics = (statistics[0], statistics[1])
        return output

    def statistics(self, student: int) -> tuple[Tensor, Tensor]:
        """Return the module's, the same for all students."""
        return self.running_mean, self.running_var


class StudentBatchNorm(RouteBatchNorm):
    """Normalises each student's samples separately: the affine parameters are shared, the running statistics are not.

    The caller sets `segments` before each call.

    Attributes:
        running_mean, running_var: (K, features) buffers.
        segments: (student, number of consecutive samples) of the next input, in order.
    """

    def __init__(self, norm: _BatchNorm, students: int) -> None:
        """Args: norm: a batch norm with affine parameters; its running statistics are copied. students: K."""
        super().__init__(norm)
        mean = torch.zeros(norm.num_features) if norm.running_mean is None else norm.running_mean
        var = torch.ones(norm.num_features) if norm.running_var is None else norm.running_var
        self.running_mean, self.running_var = mean.repeat(students, 1), var.repeat(students, 1)
        self.segments: list[tuple[int, int]] = []

    def forward(self, input: Tensor) -> Tensor:
        """Args: input: (B, features, ...), the samples of the segments in order, or their rows. Returns: the same shape."""
        counts, self.counts = self.counts, None
        sizes = [size for _, size in self.segments]
        samples = len(input) if counts is None else len(counts)
        if sum(sizes) != samples:
            raise UserError(f"the input has {samples} samples, but the segments have {sizes}; call a student through its group")
        if counts is not None:
            sizes = torch.stack([part.sum() for part in counts.split(sizes)]).tolist() if sizes else []
        present = [(student, size) for (student, _), size in zip(self.segments, sizes, strict=True)]
        if not has_torch_function_unary(input):  # synchronised ranks need a call even for a student without tokens here
            present = [(student, size) for student, size in present if size]
        if not present:
            return input
        momentum = 0.1 if self.momentum is None else self.momentum
        running = [(self.running_mean[student], self.running_var[student]) if self.tracks else (None, None) for student, _ in present]
        sizes = [size for _, size in present]
        if len(sizes) > 1 and self.training and not has_torch_function_unary(input):
            output: Tensor = _SegmentBatchNorm.apply(input, self.weight, self.bias, sizes, running, momentum, self.eps)  # type: ignore[no-untyped-call]
            return output
        parts = [
            F.batch_norm(part, mean, var, self.weight, self.bias, self.training, momentum, self.eps)
            for (mean, var), part in zip(running, input.split(sizes), strict=True)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def statistics(self, student: int) -> tuple[Tensor, Tensor]:
        """Return the student's own."""
        return self.running_mean[student], self.running_var[student]


class _SegmentBatchNorm(Function):
    """Batch norm of each segment, written into one output: concatenating the results would copy every map once more each way."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        sizes: Sequence[int],
        running: Sequence[tuple[Tensor | None, Tensor | None]],
        momentum: float,
        eps: float,
    ) -> Tensor:
        if any(size * (input[0].numel() // input.shape[1]) == 1 for size in sizes):
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        output = torch.empty_like(input)
        statistics = weight.new_empty(2, len(sizes), len(weight))
        pieces = zip(input.split(list(sizes)), output.split(list(sizes)), running, statistics[0], statistics[1], strict=True)
        for part, target, (mean, var), batch_mean, batch_invstd in pieces:
            torch.native_batch_norm(part, weight, bias, mean, var, True, momentum, eps, out=(target, batch_mean, batch_invstd))
        ctx.save_for_backward(input, weight, statistics)
        ctx.sizes, ctx.eps = list(sizes), eps
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, statistics = ctx.saved_tensors
        grad_input = torch.empty_like(input)
        totals = torch.zeros(2, len(weight), dtype=weight.dtype, device=weight.device)
        pieces = zip(
            gradient.split(ctx.sizes), input.split(ctx.sizes), grad_input.split(ctx.sizes), statistics[0], statistics[1], strict=True
        )
        for grad_output, part, target, mean, invstd in pieces:
            grad_output = grad_output.contiguous(memory_format=_memory_format(part))
            grad_part, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
                grad_output, part, weight, None, None, mean, invstd, True, ctx.eps, [True, True, True]
            )
            target.copy_(grad_part)
            totals[0] += grad_weight
            totals[1] += grad_bias
        return grad_input, totals[0], totals[1], None, None, None, None


def _memory_format(maps: Tensor) -> torch.memory_format:
    channels_last = maps.dim() == 4 and maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def replace_norms(module: nn.Module, make: Callable[[_BatchNorm], nn.Module]) -> list[nn.Module]:
    """Replace every batch norm inside `module` by `make(norm)`; return the new ones."""
    made = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                made.append(make(child))
                setattr(parent, name, made[-1])
    return made
