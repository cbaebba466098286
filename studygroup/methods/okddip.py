"""Online knowledge distillation with diverse peers, OKDDip (Chen, Mei, Wang, Feng and Chen, AAAI 2020, arXiv:1912.00350).

    a_ij = softmax over j of <W_q h_i, W_k h_j>,   t_i = sum over j of a_ij z_j          for the K - 1 peers, j = i included
    L    = sum over peers i of CE(z_i, y) + phi(t) T^2 KL(softmax(t_i / T) || softmax(z_i / T))
         + CE(z_l, y) + phi(t) T^2 KL(softmax(mean of z_i / T) || softmax(z_l / T))      for the leader l, which is deployed

h are the pooled features that a student's classifier takes. W_q and W_k map it to an eighth of its length; they are one pair for all peers.

Departures and readings:
- As in the authors' code, gradient flows into the targets. In t_i it must: W_q and W_k learn by it alone. In the leader's target it
  need not: `detach_leader_target`.
- The ramp is 80 of 300 epochs in that code; here it is that share of the epochs, so that short runs keep the shape.
- Reported diversity and ensemble are of peers and leader; the paper's diversity is of the peers.
Shapes: B batch, C classes, K students: P = K - 1 peers and the leader; d length of the features.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Branched, pooled
from studygroup.losses import cross_entropy
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, require
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option
from studygroup.schedules import ramp


class Attention(nn.Module):
    """Attention of each peer to all peers: features (B, P, d) -> weights (B, P, P) float32, rows sum to 1."""

    def __init__(self, features: int, reduction: int) -> None:
        """Args: features: d. reduction: d divided by the length of the projections."""
        super().__init__()
        length = max(features // reduction, 1)
        self.query = nn.Linear(features, length, bias=False)
        self.key = nn.Linear(features, length, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Args: features: (B, P, d)."""
        return torch.softmax((self.query(features) @ self.key(features).mT).float(), dim=-1)


@dataclass(eq=False, kw_only=True)
class OKDDip(ComparesLogits):
    """Peers that each imitate their own mixture of the peers, and a leader that imitates their average and is deployed."""

    students: int = option(
        4, at_least=1, at_most=1000, help="Number of students K, including the leader; 3 or more, or a peer has only itself to attend to"
    )
    form: Literal["branch", "network"] = option("branch", help="Students are branches on a shared trunk, or whole networks")
    temperature: float = option(3.0, above=0.0, help="Softmax temperature T")
    ramp_share: float = option(80 / 300, at_least=0.0, at_most=1.0, help="Fraction of the epochs over which the imitation ramps up")
    reduction: int = option(8, at_least=1, help="Size of the features divided by that of the projections W_q h and W_k h")
    detach_leader_target: bool = option(False, help="Stop the gradient at the peers' average that the leader imitates")
    branch_from: str | None = option(None, help="Stage at which the branches begin", default_help="the last one before the head")

    def __post_init__(self) -> None:
        """Warn of a single peer."""
        super().__post_init__()
        if self.students == 2:
            warnings.warn("with 2 students there is one peer, which can only attend to itself; take 3 or more", stacklevel=3)

    def build(self, networks: NetworkFactory) -> None:
        """Create peers, leader and the attention; a leader alone needs none."""
        require(not networks.peers, "okddip's students are of one network; it takes no peers")
        self.group: Branched = Branched(networks.copy, self.students, branch_from=self.branch_from, whole=self.form == "network")
        self.candidates = ("leader",)
        if self.students > 1:
            _, features = self.group.widths(networks.example())
            self.attention = networks.extra_module("attention", lambda: Attention(features, self.reduction))

    def student_names(self) -> tuple[str, ...]:
        """Return the names of the peers, and of the leader last."""
        return (*(f"peer{i}" for i in range(self.students - 1)), "leader")

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update everything together, once."""
        features = self.group.features(self.group.trunk(batch.inputs))  # K x (B, d)
        logits = self.group.classify(features)  # K x (B, C)
        losses = {f"{name}/cross_entropy": cross_entropy(z, batch.targets) for name, z in zip(self.student_names(), logits, strict=True)}
        if self.students > 1:
            *peers, leader = logits
            phi = ramp(clock.epoch, 0, round(self.ramp_share * clock.epochs))
            for i, target in enumerate(self.targets(features[:-1], peers)):
                losses[f"peer{i}/imitation"] = phi * self.compare(peers[i], target, batch.targets, self.temperature)
            average = torch.stack(peers).mean(0)
            average = average.detach() if self.detach_leader_target else average
            losses["leader/imitation"] = phi * self.compare(leader, average, batch.targets, self.temperature)
        yield losses

    def targets(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> list[Tensor]:
        """Return t_i of every peer, P x (B, C), given the peers' features P x (B, d) and logits P x (B, C)."""
        weights = self.attention(torch.stack([pooled(h) for h in features], dim=1))  # (B, P, P)
        stacked = torch.stack(list(logits), dim=1)  # (B, P, C)
        return list((weights.unsqueeze(-1) * stacked.unsqueeze(1)).sum(2).unbind(1))
