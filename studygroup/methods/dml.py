"""Deep mutual learning (Zhang et al., CVPR 2018, arXiv:1706.00384).

    L_k = CE(z_k, y) + 1/(K-1) * sum over l != k of KL(p_l || p_k)

Departures:
- Students are updated together, from one forward pass each; `update="sequential"` is the paper's algorithm 1: one after the other, each
  against its peers' newest predictions.
- `peer_reduction="sum"` does not divide by K-1, as the authors' code; `target="mean_logits"` takes one divergence from the
  peers' averaged logits instead of one from each.
- Peers receive no gradient from the mimicry; `detach=False` lets them, as in the code of OKDDip (Chen et al., AAAI 2020).
- `preset="okddip"` is that code's variant: temperature 3 with T^2, mean logits, not detached.
Shapes: B batch, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import Batch, LabelTargets
from studygroup.clock import Clock
from studygroup.groups import Independent, predict_targets
from studygroup.losses import cross_entropy
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, require
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class DML(ComparesLogits):
    """Networks that learn from the labels and from each other's predictions."""

    takes_unlabelled = True

    students: int = option(2, at_least=1, at_most=1000, help="Number of students K")
    temperature: float = option(1.0, above=0.0, help="Softmax temperature T; the loss has the factor T^2")
    update: Literal["together", "sequential"] = option(
        "together", help="Update all students at once, or one after the other against their peers' newest predictions (algorithm 1)"
    )
    peer_reduction: Literal["mean", "sum"] = option("mean", help="Mean or sum of the divergences from the peers")
    target: Literal["pairwise", "mean_logits"] = option("pairwise", help="One divergence per peer, or one from the peers' averaged logits")
    detach: bool = option(True, help="Stop the gradient at the peers' logits")
    preset: Literal["paper", "okddip"] = option("paper", help="okddip sets temperature 3, mean_logits and no detach, as OKDDip's code")

    def __post_init__(self) -> None:
        """Apply the preset."""
        super().__post_init__()
        if self.preset == "okddip":
            self.temperature, self.target, self.detach = 3.0, "mean_logits", False
        require(self.detach or self.update == "together", "update='sequential' moves one student at a time; it needs detach=True")

    def build(self, networks: NetworkFactory) -> None:
        """Create K networks, of different architectures if there are peers."""
        self.group = Independent(networks.students(self.students))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update all students once, together or one after the other."""
        logits: list[Tensor] = self.group(batch.inputs)  # K x (B, C)
        if self.update == "together":
            yield {name: loss for k in range(self.students) for name, loss in self.student_loss(k, logits, batch.targets).items()}
            return
        for k in range(self.students):
            yield self.student_loss(k, logits, batch.targets)
            if k + 1 < self.students:
                logits[k] = predict_targets(self.group[k], batch.inputs)  # by the updated student

    def student_loss(self, k: int, logits: Sequence[Tensor], targets: LabelTargets) -> Losses:
        """Return student k's losses, given all students' logits K x (B, C) and the targets of the B samples."""
        losses = {f"student{k}/cross_entropy": cross_entropy(logits[k], targets)}
        peers = [peer.detach() if self.detach else peer for other, peer in enumerate(logits) if other != k]
        if not peers:
            return losses
        if self.target == "mean_logits":
            peers = [torch.stack(peers).mean(0)]
        mimicry = torch.stack([self.compare(logits[k], peer, targets, self.temperature) for peer in peers])
        losses[f"student{k}/mimicry"] = mimicry.mean() if self.peer_reduction == "mean" else mimicry.sum()
        return losses
