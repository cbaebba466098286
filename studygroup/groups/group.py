"""The interface of a group of students, whatever parameters they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.networks.padded import Activation, batch_size, concat, split

BatchNorm = Literal["pooled", "per_student"]
"""Whether batch norm normalises the samples of several students together."""


class Group(nn.Module, ABC):
    """K students that map the same kind of inputs to logits (B, C). K is `len(group)`.

    Attributes:
        ranks: the ranks over which students or members are sharded; None if every rank has all of them.
    """

    ranks: DistContext | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return K, the number of students."""

    @abstractmethod
    def __getitem__(self, student: int) -> nn.Module:
        """Return a student as a module (B, ...) -> (B, C) that shares the group's parameters."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return every student's logits, K x (B, C), on the same inputs (B, ...)."""

    @abstractmethod
    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return each student's logits on its own inputs, and the logits of the students it imitates on the same inputs.

        Inputs may be empty, and several students may share one tensor.

        Args:
            inputs: K tensors (b_k, ...).
            imitated: for every student, the indices of the students it imitates.
            detach: whether imitated logits are targets only: no gradient, no update of running statistics.

        Returns:
            Own logits, K x (b_k, C), with gradient; imitated logits, for every student one (b_k, C) per imitated student.
        """

    @abstractmethod
    def export(self, student: int) -> nn.Module:
        """Return a copy of a student as a plain network that is independent of the group."""

    @abstractmethod
    def compiled_modules(self) -> list[nn.Module]:
        """Return the modules to compile: those that are called as a whole."""

    def shard(self, ranks: DistContext, classes: int) -> None:
        """Shard the students or members over ranks. Called once, before training.

        Args:
            ranks: the ranks, as this one sees them.
            classes: C, the number of classes.

        Raises:
            UserError: this kind of group cannot be sharded in this way, or has fewer students than there are ranks.
        """
        raise UserError(f"the students of a {type(self).__name__.lower()} group cannot be on different ranks; use --shard samples")

    def private_tensors(self, student: int) -> list[Tensor]:
        """Return the parameters and buffers that only the rank of a student updates."""
        return []

    def sync_students(self) -> None:
        """Broadcast each student's private tensors from its rank, so that all ranks have the same weights."""
        if self.ranks is not None:
            for k in range(len(self)):
                self.ranks.broadcast(self.private_tensors(k), self.ranks.owner(k, len(self)))

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Return what distinguishes this group from others, as JSON values."""


def check_enough_students(students: int, ranks: DistContext) -> None:
    """Raise `UserError` if a rank would have no student."""
    if students < ranks.world_size:
        raise UserError(
            f"{students} students on {ranks.world_size} ranks: some would have none; use at most {students} ranks, or more students"
        )


def batched_call(network: nn.Module, inputs: Mapping[int, Activation]) -> dict[int, Any]:
    """Run a network once on several inputs, concatenated.

    Args:
        network: activations of B samples -> activations of B samples.
        inputs: key -> activations of b samples, at least one; an object that occurs several times is computed once.

    Returns:
        Key -> output of the network.
    """
    distinct = list({id(x): x for x in inputs.values()}.values())
    parts = split(network(concat(distinct)), [batch_size(x) for x in distinct])
    outputs = {id(x): part for x, part in zip(distinct, parts, strict=True)}
    return {key: outputs[id(x)] for key, x in inputs.items()}
