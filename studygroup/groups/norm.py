"""Batch norm that keeps students apart inside one call."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from studygroup.errors import UserError


class StudentBatchNorm(_BatchNorm):
    """Normalises each student's samples by themselves: the affine parameters are shared, the running statistics are not.

    The caller says before each call whose samples follow each other, in `segments`.

    Attributes:
        running_mean, running_var: (K, features) buffers.
        segments: (student, number of samples) of the next input, in order.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: _BatchNorm, students: int) -> None:
        """Args: norm: a batch norm with affine parameters and running statistics, taken over. students: K."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        mean = torch.zeros(norm.num_features) if norm.running_mean is None else norm.running_mean
        var = torch.ones(norm.num_features) if norm.running_var is None else norm.running_var
        self.running_mean, self.running_var = mean.repeat(students, 1), var.repeat(students, 1)
        self.segments: list[tuple[int, int]] = []
        self.kind = type(norm)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any input that F.batch_norm takes."""

    def forward(self, input: Tensor) -> Tensor:
        """Args: input: (B, features, ...), the segments' samples in order. Returns: the same shape."""
        if sum(size for _, size in self.segments) != len(input):
            raise UserError(
                f"{len(input)} samples came, but segments of {[size for _, size in self.segments]} were announced; "
                "call a student through its group"
            )
        tracked = self.track_running_stats or not self.training
        momentum = 0.1 if self.momentum is None else self.momentum
        parts = [
            F.batch_norm(
                part,
                self.running_mean[student] if tracked else None,
                self.running_var[student] if tracked else None,
                self.weight,
                self.bias,
                self.training,
                momentum,
                self.eps,
            )
            for (student, _), part in zip(self.segments, input.split([size for _, size in self.segments]), strict=True)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def plain(self, student: int) -> nn.Module:
        """An ordinary batch norm with one student's running statistics and copies of the affine parameters."""
        norm = self.kind(self.num_features, self.eps, self.momentum).to(device=self.weight.device, dtype=self.weight.dtype)
        norm.load_state_dict(
            {
                "weight": self.weight,
                "bias": self.bias,
                "running_mean": self.running_mean[student],
                "running_var": self.running_var[student],
                "num_batches_tracked": torch.tensor(0),
            }
        )
        return norm.train(self.training)


def give_student_norms(module: nn.Module, students: int) -> list[StudentBatchNorm]:
    """Replace every batch norm inside `module` by one that keeps `students` students apart; returns the new ones."""
    made = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, StudentBatchNorm):
                norm = StudentBatchNorm(child, students)
                setattr(parent, name, norm)
                made.append(norm)
    return made


def give_plain_norms(module: nn.Module, student: int) -> None:
    """Replace every `StudentBatchNorm` inside `module` by an ordinary one with `student`'s statistics."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, StudentBatchNorm):
                setattr(parent, name, child.plain(student))
