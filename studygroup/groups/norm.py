"""Batch norm of modules that several students share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from studygroup.errors import UserError


class RouteBatchNorm(_BatchNorm):
    """A batch norm inside a module of a `Modular` group. It takes over the affine parameters of the one that it replaces."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        """Args: norm: a batch norm with affine parameters."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.kind = type(norm)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any input that F.batch_norm takes."""

    @property
    def tracks(self) -> bool:
        """Whether the next input moves or is normalised by running statistics."""
        return self.track_running_stats or not self.training

    @abstractmethod
    def statistics(self, student: int) -> tuple[Tensor, Tensor]:
        """A student's running mean and variance, each (features,)."""

    def plain(self, student: int) -> nn.Module:
        """An ordinary batch norm with one student's running statistics and copies of the affine parameters."""
        norm = self.kind(self.num_features, self.eps, self.momentum).to(device=self.weight.device, dtype=self.weight.dtype)
        mean, var = self.statistics(student)
        assert self.num_batches_tracked is not None
        state = {"weight": self.weight, "bias": self.bias, "running_mean": mean, "running_var": var}
        norm.load_state_dict({**state, "num_batches_tracked": self.num_batches_tracked})
        return norm.train(self.training)


class PooledBatchNorm(RouteBatchNorm):
    """Normalises all samples of an iteration by the statistics of those that the students learn from.

    In train mode an input is normalised by its own statistics, which are kept in `latest`. While `recalling`, they normalise
    further inputs, the samples that only make targets; if there are none, the running statistics do.

    Attributes:
        latest: mean and 1 / standard deviation, each (features,), of the last input that was learnt from.
        recalling: whether `latest` is used.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        """Args: norm: a batch norm with affine parameters, taken over with its running statistics."""
        super().__init__(norm)
        if norm.running_mean is not None and norm.running_var is not None:
            self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.latest: tuple[Tensor, Tensor] | None = None
        self.recalling = False

    def forward(self, input: Tensor) -> Tensor:
        """Args: input: (B, features, ...). Returns: the same shape."""
        if not self.training or self.recalling:
            mean, var = self.running_mean, self.running_var
            if self.training and self.latest is not None:
                mean, var = self.latest[0], self.latest[1].pow(-2).sub_(self.eps)
            return F.batch_norm(input, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        if input.numel() == input.shape[1]:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        tracked = self.track_running_stats
        if tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = 0.1 if self.momentum is None else self.momentum
        # The one function that gives back the statistics it normalised by.
        output, *latest = torch.native_batch_norm(
            input,
            self.weight,
            self.bias,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            True,
            momentum,
            self.eps,
        )
        self.latest = (latest[0], latest[1])
        return output

    def statistics(self, student: int) -> tuple[Tensor, Tensor]:
        """The module's, whoever asks."""
        return self.running_mean, self.running_var


class StudentBatchNorm(RouteBatchNorm):
    """Normalises each student's samples by themselves: the affine parameters are shared, the running statistics are not.

    The caller says before each call whose samples follow each other, in `segments`.

    Attributes:
        running_mean, running_var: (K, features) buffers.
        segments: (student, number of samples) of the next input, in order.
    """

    def __init__(self, norm: _BatchNorm, students: int) -> None:
        """Args: norm: a batch norm with affine parameters, taken over with its running statistics. students: K."""
        super().__init__(norm)
        mean = torch.zeros(norm.num_features) if norm.running_mean is None else norm.running_mean
        var = torch.ones(norm.num_features) if norm.running_var is None else norm.running_var
        self.running_mean, self.running_var = mean.repeat(students, 1), var.repeat(students, 1)
        self.segments: list[tuple[int, int]] = []

    def forward(self, input: Tensor) -> Tensor:
        """Args: input: (B, features, ...), the segments' samples in order. Returns: the same shape."""
        if sum(size for _, size in self.segments) != len(input):
            raise UserError(
                f"{len(input)} samples came, but segments of {[size for _, size in self.segments]} were announced; "
                "call a student through its group"
            )
        momentum = 0.1 if self.momentum is None else self.momentum
        parts = [
            F.batch_norm(
                part,
                self.running_mean[student] if self.tracks else None,
                self.running_var[student] if self.tracks else None,
                self.weight,
                self.bias,
                self.training,
                momentum,
                self.eps,
            )
            for (student, _), part in zip(self.segments, input.split([size for _, size in self.segments]), strict=True)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def statistics(self, student: int) -> tuple[Tensor, Tensor]:
        """The student's own."""
        return self.running_mean[student], self.running_var[student]


def replace_norms(module: nn.Module, make: Callable[[_BatchNorm], nn.Module]) -> list[nn.Module]:
    """Put `make(norm)` in the place of every batch norm inside `module`; returns the new ones."""
    made = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                made.append(make(child))
                setattr(parent, name, made[-1])
    return made
