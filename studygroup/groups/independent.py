"""K separate networks, of any architecture."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from studygroup.groups.group import Group
from studygroup.groups.target import TargetMode, target_mode


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

    def __len__(self) -> int:
        """K."""
        return len(self.networks)

    def __getitem__(self, student: int) -> nn.Module:
        """Student `student`'s network itself."""
        return self.networks[student]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """K x (B, C)."""
        return [network(inputs) for network in self.networks]

    def study(
        self, inputs: Sequence[Tensor], imitated: Sequence[Sequence[int]], *, detach: bool = True
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """One forward per network for the own samples, one for all the samples on which it is imitated."""
        own = [network(x) if len(x) else x.new_zeros(0) for network, x in zip(self.networks, inputs, strict=True)]
        taught: dict[tuple[int, int], Tensor] = {}
        for teacher, network in enumerate(self.networks):
            pupils = [k for k, chosen in enumerate(imitated) if teacher in chosen and len(inputs[k])]
            fresh = [k for k in pupils if inputs[k] is not inputs[teacher]]
            logits = {k: own[teacher].detach() if detach else own[teacher] for k in pupils if k not in fresh}
            if fresh:
                joined = torch.cat([inputs[k] for k in fresh]) if len(fresh) > 1 else inputs[fresh[0]]
                with torch.set_grad_enabled(not detach), target_mode(network, self.targets):
                    parts = network(joined).split([len(inputs[k]) for k in fresh])
                logits.update(zip(fresh, parts, strict=True))
            taught.update(((k, teacher), logits[k]) for k in pupils)
        return own, [[taught[k, teacher] for teacher in imitated[k]] if len(x) else [] for k, x in enumerate(inputs)]

    def export(self, student: int) -> nn.Module:
        """A copy of the student's network."""
        return copy.deepcopy(self.networks[student])

    def parts(self) -> list[nn.Module]:
        """The networks."""
        return list(self.networks)

    def describe(self) -> dict[str, object]:
        """Kind and size."""
        return {"group": "independent", "students": len(self)}
