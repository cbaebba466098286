"""Deep mutual learning (Zhang et al., CVPR 2018, arXiv:1706.00384).

    L_k = CE(z_k, y) + 1/(K-1) * sum over l != k of KL(p_l || p_k)

Departures:
- Students move together, from one forward each; `update="sequential"` is the paper's algorithm 1: one after the other, each
  against its peers' newest predictions.
- `peer_reduction="sum"` does not divide by K-1, as the authors' code; `target="mean_logits"` takes one divergence from the
  others' averaged logits instead of one from each.
- Gradient does not reach the peers; `detach=False` lets it, as in the code of OKDDip (Chen et al., AAAI 2020).
- `preset="okddip"` is that code's variant: temperature 3 with T^2, mean logits, not detached.
Shapes: B batch, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Independent, predict_targets
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory


class DML(Method):
    """Networks that learn from the labels and from each other's predictions."""

    def __init__(
        self,
        students: int = 2,
        *,
        temperature: float = 1.0,
        update: Literal["together", "sequential"] = "together",
        peer_reduction: Literal["mean", "sum"] = "mean",
        target: Literal["pairwise", "mean_logits"] = "pairwise",
        detach: bool = True,
        preset: Literal["paper", "okddip"] = "paper",
    ) -> None:
        """Set the options.

        Args:
            students: K >= 1.
            temperature: T > 0 of the mimicry; the loss has the factor T^2.
            update: `"together"`, or `"sequential"`.
            peer_reduction: `"mean"` or `"sum"` over the peers.
            target: `"pairwise"`, or `"mean_logits"`.
            detach: whether peers are targets only.
            preset: `"okddip"` sets temperature, target and detach to that code's values.
        """
        super().__init__()
        if preset == "okddip":
            temperature, target, detach = 3.0, "mean_logits", False
        require(students >= 1, f"students is {students}; at least 1 is needed")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        require(detach or update == "together", "update='sequential' moves one student at a time; it needs detach=True")
        self.count = students
        self.temperature = temperature
        self.update = update
        self.peer_reduction = peer_reduction
        self.target = target
        self.detach = detach
        self.preset = preset

    def build(self, networks: NetworkFactory) -> None:
        """K networks, of different architectures if the peers differ."""
        self.group = Independent(networks.students(self.count))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update, or K if sequential."""
        logits: list[Tensor] = self.group(batch.inputs)  # K x (B, C)
        if self.update == "together":
            yield {name: loss for k in range(self.count) for name, loss in self.student_loss(k, logits, batch.labels).items()}
            return
        for k in range(self.count):
            yield self.student_loss(k, logits, batch.labels)
            if k + 1 < self.count:
                logits[k] = predict_targets(self.group[k], batch.inputs)  # as just updated

    def student_loss(self, k: int, logits: Sequence[Tensor], labels: Tensor) -> Losses:
        """Student k's losses, given everybody's logits K x (B, C) and the labels (B,)."""
        losses = {f"student{k}/cross_entropy": cross_entropy(logits[k], labels)}
        peers = [peer.detach() if self.detach else peer for other, peer in enumerate(logits) if other != k]
        if not peers:
            return losses
        if self.target == "mean_logits":
            peers = [torch.stack(peers).mean(0)]
        mimicry = torch.stack([soft_kl(logits[k], peer, self.temperature) for peer in peers])
        losses[f"student{k}/mimicry"] = mimicry.mean() if self.peer_reduction == "mean" else mimicry.sum()
        return losses
