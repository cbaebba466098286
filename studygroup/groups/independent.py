"""K separate networks, of any architecture.

They may be on different ranks (`--shard members`): each rank trains its own networks on the global batch, and the ranks exchange
logits only. No gradient has to cross ranks, even if targets are not detached: every rank knows all terms of the loss and
differentiates it with respect to the logits of its own networks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.groups.group import BatchNorm, Group, check_enough_students
from studygroup.groups.target import TargetMode, target_mode
from studygroup.losses.numerics import as_float32


class Independent(Group):
    """Students that share no parameters."""

    def __init__(self, networks: Sequence[nn.Module], *, targets: TargetMode = "batch_stats", bn: BatchNorm = "pooled") -> None:
        """Set the networks.

        Args:
            networks: K modules (B, ...) -> (B, C), not copied.
            targets: `target_mode` of the passes that only compute targets.
            bn: what a network that several students imitate normalises together: all their samples, or each student's (as in `Modular`).
        """
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.targets: TargetMode = targets
        self.bn: BatchNorm = bn
        self._classes = 0

    def __len__(self) -> int:
        """Return K."""
        return len(self.networks)

    def __getitem__(self, student: int) -> nn.Module:
        """Return a student's network, or a module that gets its logits from the student's rank."""
        return self.networks[student] if self.ranks is None else RemoteStudent(self, range(len(self))[student])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return every student's logits, K x (B, C)."""
        return self._exchange_logits([self._local_logits(k, inputs) for k in range(len(self))])

    def _local_logits(self, student: int, inputs: Tensor) -> Tensor:
        """Return a student's logits, or zeros to be overwritten if it is on another rank."""
        if self.ranks is None or not self.training or self._owner(student) == self.ranks.rank:
            logits: Tensor = self.networks[student](inputs)
            return logits
        return next(self.networks[student].parameters(), inputs).new_zeros(len(inputs), self._classes)

    def _exchange_logits(self, logits: Sequence[Tensor], students: Sequence[int] | None = None) -> list[Tensor]:
        """Broadcast the logits of all (or some) students from their ranks; local ones keep their gradient."""
        if self.ranks is None or not self.training:
            return list(logits)
        exchanged = []
        for student, local in zip(students if students is not None else range(len(self)), logits, strict=True):
            received = as_float32(local.detach())  # the same dtype on all ranks, whatever each computes in
            self.ranks.broadcast([received], self._owner(student))
            exchanged.append(local if self._owner(student) == self.ranks.rank else received)
        return exchanged

    def _owner(self, student: int) -> int:
        assert self.ranks is not None
        return self.ranks.owner(student, len(self))

    def shard(self, ranks: DistContext, classes: int) -> None:
        """Shard the members over ranks, which exchange logits."""
        if ranks.shard == "students":
            raise UserError("these students are separate networks; use --shard members, which exchanges logits only, or samples")
        check_enough_students(len(self), ranks)
        self.ranks, self._classes = ranks, classes

    def private_tensors(self, student: int) -> list[Tensor]:
        """Return the parameters and buffers of the student's network."""
        return [*self.networks[student].parameters(), *self.networks[student].buffers()]

    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Run each network once on its own samples, and once on all the samples on which it is imitated."""
        present = [k for k, x in enumerate(inputs) if len(x)]
        own = [x.new_zeros(0) for x in inputs]
        for k, z in zip(present, self._exchange_logits([self._local_logits(k, inputs[k]) for k in present], present), strict=True):
            own[k] = z
        targets: dict[tuple[int, int], Tensor] = {}
        requests: dict[int, list[int]] = {}  # teacher -> the students that need its logits on other inputs than its own
        outputs: dict[int, Tensor] = {}
        for teacher, network in enumerate(self.networks):
            requests[teacher] = []
            for k in (k for k in present if teacher in imitated[k]):
                if inputs[k] is inputs[teacher]:
                    targets[k, teacher] = own[teacher].detach() if detach else own[teacher]
                else:
                    requests[teacher].append(k)
            if requests[teacher]:
                parts = [inputs[k] for k in requests[teacher]]
                together = [torch.cat(parts)] if self.bn == "pooled" and len(parts) > 1 else parts
                with torch.set_grad_enabled(not detach), target_mode(network, self.targets):
                    logits = [self._local_logits(teacher, part) for part in together]
                outputs[teacher] = torch.cat(logits) if len(logits) > 1 else logits[0]
        for teacher, output in zip(outputs, self._exchange_logits(list(outputs.values()), list(outputs)), strict=True):
            for k, part in zip(requests[teacher], output.split([len(inputs[k]) for k in requests[teacher]]), strict=True):
                targets[k, teacher] = part
        return own, [[targets[k, teacher] for teacher in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]

    def export(self, student: int) -> nn.Module:
        """Return a copy of the student's network."""
        return copy.deepcopy(self.networks[student])

    def compiled_modules(self) -> list[nn.Module]:
        """Return the networks."""
        return list(self.networks)

    def describe(self) -> dict[str, object]:
        """Return kind and size."""
        return {"group": "independent", "students": len(self)}


class RemoteStudent(nn.Module):
    """One student of a group whose members are on different ranks: its logits come from the rank that trains it."""

    def __init__(self, group: Independent, student: int) -> None:
        """Args: group: the group. student: index of the student."""
        super().__init__()
        self.network = group.networks[student]
        self.training = group.training
        self.student = student
        self._group = [group]  # in a list, so that it is no submodule

    def forward(self, inputs: Tensor) -> Tensor:
        """Args: inputs: (B, ...), the same on all ranks. Returns: (B, C)."""
        group = self._group[0]
        return group._exchange_logits([group._local_logits(self.student, inputs)], [self.student])[0]
