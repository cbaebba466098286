"""K separate networks, of any architecture.

They may live on different ranks (`spread="members"`): each rank trains its own networks on the whole batch, and all that is said
is logits. Nobody's gradient is needed elsewhere, whether targets are detached or not: the total loss, of which every rank knows
all terms, is differentiated by its own networks' logits only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.groups.group import Group, check_enough_students
from studygroup.groups.target import TargetMode, target_mode
from studygroup.losses.numerics import as_float32


class Independent(Group):
    """Students that share no parameter."""

    def __init__(self, networks: Sequence[nn.Module], *, targets: TargetMode = "batch_stats") -> None:
        """Take the networks as they are.

        Args:
            networks: K modules (B, ...) -> (B, C).
            targets: how a student behaves while it only makes targets (`target_mode`).
        """
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.targets: TargetMode = targets
        self._classes = 0

    def __len__(self) -> int:
        """K."""
        return len(self.networks)

    def __getitem__(self, student: int) -> nn.Module:
        """Student `student`'s network itself, or what asks the rank that it lives on."""
        return self.networks[student] if self.ranks is None else Member(self, range(len(self))[student])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """K x (B, C)."""
        return self._told([self._ask(k, inputs) for k in range(len(self))])

    def _ask(self, student: int, inputs: Tensor) -> Tensor:
        """A student's logits; where it does not live, room for them."""
        if self.ranks is None or not self.training or self._owner(student) == self.ranks.rank:
            logits: Tensor = self.networks[student](inputs)
            return logits
        return next(self.networks[student].parameters(), inputs).new_zeros(len(inputs), self._classes)

    def _told(self, logits: Sequence[Tensor], students: Sequence[int] | None = None) -> list[Tensor]:
        """Logits of all (or of some) students, those of others' as their ranks computed them."""
        if self.ranks is None or not self.training:
            return list(logits)
        found = []
        for student, own in zip(students if students is not None else range(len(self)), logits, strict=True):
            said = as_float32(own.detach())  # the same type on all ranks, whatever each computes in
            self.ranks.broadcast([said], self._owner(student))
            found.append(own if self._owner(student) == self.ranks.rank else said)
        return found

    def _owner(self, student: int) -> int:
        assert self.ranks is not None
        return self.ranks.owner(student, len(self))

    def shard(self, ranks: DistContext, classes: int) -> None:
        """Members hear each other's logits from the ranks that they live on."""
        if ranks.shard == "students":
            raise UserError("these students are separate networks; take --shard members, which sends logits only, or samples")
        check_enough_students(len(self), ranks)
        self.ranks, self._classes = ranks, classes

    def private_tensors(self, student: int) -> list[Tensor]:
        """The student's network."""
        return [*self.networks[student].parameters(), *self.networks[student].buffers()]

    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """One forward per network for the own samples, one for all the samples on which it is imitated."""
        present = [k for k, x in enumerate(inputs) if len(x)]
        own = [x.new_zeros(0) for x in inputs]
        for k, z in zip(present, self._told([self._ask(k, inputs[k]) for k in present], present), strict=True):
            own[k] = z
        taught: dict[tuple[int, int], Tensor] = {}
        asked: dict[int, Tensor] = {}
        pupils: dict[int, list[int]] = {}
        for teacher, network in enumerate(self.networks):
            pupils[teacher] = []
            for k in (k for k in present if teacher in imitated[k]):
                if inputs[k] is inputs[teacher]:
                    taught[k, teacher] = own[teacher].detach() if detach else own[teacher]
                else:
                    pupils[teacher].append(k)
            if pupils[teacher]:
                parts = [inputs[k] for k in pupils[teacher]]
                with torch.set_grad_enabled(not detach), target_mode(network, self.targets):
                    asked[teacher] = self._ask(teacher, torch.cat(parts) if len(parts) > 1 else parts[0])
        for teacher, answer in zip(asked, self._told(list(asked.values()), list(asked)), strict=True):
            for k, logits in zip(pupils[teacher], answer.split([len(inputs[k]) for k in pupils[teacher]]), strict=True):
                taught[k, teacher] = logits
        return own, [[taught[k, teacher] for teacher in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]

    def export(self, student: int) -> nn.Module:
        """A copy of the student's network."""
        return copy.deepcopy(self.networks[student])

    def compiled_modules(self) -> list[nn.Module]:
        """The networks."""
        return list(self.networks)

    def describe(self) -> dict[str, object]:
        """Kind and size."""
        return {"group": "independent", "students": len(self)}


class Member(nn.Module):
    """One student of a group whose members live on different ranks: asks the one that has it."""

    def __init__(self, group: Independent, student: int) -> None:
        """Args: group: the group. student: which of its students."""
        super().__init__()
        self.network = group.networks[student]
        self.training = group.training
        self.student = student
        self._group = [group]  # in a list, because it is no part of this module

    def forward(self, inputs: Tensor) -> Tensor:
        """Args: inputs: (B, ...), the same on all ranks. Returns: (B, C)."""
        group = self._group[0]
        return group._told([group._ask(self.student, inputs)], [self.student])[0]
