"""What a group of students is to a method, whatever the students share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.networks.padded import Activation, concat, samples, split


class Group(nn.Module, ABC):
    """K students that map the same kind of inputs to logits (B, C). K is `len(group)`.

    Attributes:
        ranks: the processes over which students, or members, are spread; None if each has all of them.
    """

    ranks: DistContext | None = None

    @abstractmethod
    def __len__(self) -> int:
        """K."""

    @abstractmethod
    def __getitem__(self, student: int) -> nn.Module:
        """Student `student` as a callable that shares the group's parameters: (B, ...) -> (B, C)."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Every student's logits, K x (B, C), on the same inputs (B, ...)."""

    @abstractmethod
    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Each student's logits on its own inputs, and those of the students that it imitates on the same inputs.

        All are computed with the weights as they are now. Inputs may be empty, and may be one and the same tensor for several students.

        Args:
            inputs: K tensors (b_k, ...), in train mode with gradient.
            imitated: for every student the numbers of those that it imitates.
            detach: whether imitated logits are targets only (no gradient, batch statistics, no trace in the running ones).

        Returns:
            own logits, K x (b_k, C); imitated logits, for every student one (b_k, C) per imitated student.
        """

    @abstractmethod
    def export(self, student: int) -> nn.Module:
        """A copy of student `student` as a plain network, without anything of the group."""

    @abstractmethod
    def compiled_modules(self) -> list[nn.Module]:
        """The networks or modules that run as a whole, to be compiled."""

    def shard(self, ranks: DistContext, classes: int) -> None:
        """Prepare for students, or members, that live on different ranks. Called once, before training.

        Args:
            ranks: where this process is among them.
            classes: C, length of the logits.

        Raises:
            UserError: students of this kind of group, or so few of them, cannot live apart.
        """
        raise UserError(f"the students of a {type(self).__name__.lower()} group cannot live on different ranks; take --shard samples")

    def private_tensors(self, student: int) -> list[Tensor]:
        """Weights and buffers that only the lessons of student `student` move: other ranks have to be told."""
        return []

    def sync_students(self) -> None:
        """Give every rank what only the rank of a student knows; from now on all have the same, until the next update."""
        if self.ranks is not None:
            for k in range(len(self)):
                self.ranks.broadcast(self.private_tensors(k), self.ranks.owner(k, len(self)))

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """What distinguishes this group from another, in JSON's types."""


def check_enough_students(students: int, ranks: DistContext) -> None:
    """Raise UserError if there are ranks without a student."""
    if students < ranks.size:
        raise UserError(f"{students} students on {ranks.size} ranks: some would have none; take at most {students} ranks, or more students")


def batched_call(network: nn.Module, inputs: Mapping[int, Activation]) -> dict[int, Any]:
    """One call of a network for several inputs.

    Args:
        network: activations of B samples -> activations of the same.
        inputs: key -> those of b samples, at least one key; what is one and the same object goes through the network once.

    Returns:
        Key -> what the network makes of them.
    """
    distinct = list({id(x): x for x in inputs.values()}.values())
    parts = split(network(concat(distinct)), [samples(x) for x in distinct])
    found = {id(x): part for x, part in zip(distinct, parts, strict=True)}
    return {key: found[id(x)] for key, x in inputs.items()}
