"""Online knowledge distillation with diverse peers, OKDDip (Chen, Mei, Wang, Feng and Chen, AAAI 2020, arXiv:1912.00350).

    a_ij = softmax over j of <W_q h_i, W_k h_j>,   t_i = sum over j of a_ij z_j          for the K - 1 peers, j = i included
    L    = sum over peers i of CE(z_i, y) + phi(t) T^2 KL(softmax(t_i / T) || softmax(z_i / T))
         + CE(z_l, y) + phi(t) T^2 KL(softmax(mean of z_i / T) || softmax(z_l / T))      for the leader l, which is deployed

h is what a student's classifier takes: pooled features. W_q and W_k map it to an eighth of its length; they are one pair for all peers.

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
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Branched, pooled
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory
from studygroup.schedules import ramp


class Attention(nn.Module):
    """Whom each peer listens to: features (B, P, d) -> weights (B, P, P) float32, each row with the sum 1."""

    def __init__(self, features: int, reduction: int) -> None:
        """Args: features: d. reduction: d divided by the length of the projections."""
        super().__init__()
        length = max(features // reduction, 1)
        self.query = nn.Linear(features, length, bias=False)
        self.key = nn.Linear(features, length, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Args: features: (B, P, d)."""
        return torch.softmax((self.query(features) @ self.key(features).mT).float(), dim=-1)


class OKDDip(Method):
    """Peers that each learn from their own mixture of the peers, and a leader that learns from their average and is deployed."""

    group: Branched
    attention: Attention

    def __init__(
        self,
        students: int = 4,
        *,
        form: Literal["branch", "network"] = "branch",
        temperature: float = 3.0,
        ramp_share: float = 80 / 300,
        reduction: int = 8,
        detach_leader_target: bool = False,
        branch_from: str | None = None,
    ) -> None:
        """Set the options.

        Args:
            students: K >= 1, the leader included.
            form: whether students are branches on a shared trunk, or whole networks.
            temperature: T > 0.
            ramp_share: share in [0, 1] of the epochs over which the weight of imitation rises.
            reduction: how many times shorter than the features the projections are, at least 1.
            detach_leader_target: whether the peers' average is a target only.
            branch_from: the stage with which branches begin; the last one before the head by default.
        """
        super().__init__()
        require(students >= 1, f"students is {students}; at least 1 is needed")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        require(0.0 <= ramp_share <= 1.0, f"ramp_share is {ramp_share}; it must lie in [0, 1]")
        require(reduction >= 1, f"reduction is {reduction}; it must be at least 1")
        if students == 2:
            warnings.warn("with 2 students there is one peer, which can only listen to itself; take 3 or more", stacklevel=2)
        self.count = students
        self.form = form
        self.temperature = temperature
        self.ramp_share = ramp_share
        self.reduction = reduction
        self.detach_leader_target = detach_leader_target
        self.branch_from = branch_from

    def build(self, networks: NetworkFactory) -> None:
        """Peers and leader, and the projections; a leader alone needs none."""
        require(not networks.peers, "okddip's students are of one network; it takes no peers")
        self.group = Branched(networks.copy, self.count, branch_from=self.branch_from, whole=self.form == "network")
        self.candidates = ("leader",)
        if self.count > 1:
            _, features = self.group.widths(networks.example())
            self.attention = networks.extra_module("attention", lambda: Attention(features, self.reduction))

    def student_names(self) -> tuple[str, ...]:
        """The peers, and the leader last."""
        return (*(f"peer{i}" for i in range(self.count - 1)), "leader")

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of everything together."""
        features = self.group.features(self.group.trunk(batch.inputs))  # K x (B, d)
        logits = self.group.classify(features)  # K x (B, C)
        losses = {f"{name}/cross_entropy": cross_entropy(z, batch.labels) for name, z in zip(self.student_names(), logits, strict=True)}
        if self.count > 1:
            *peers, leader = logits
            phi = ramp(clock.epoch, 0, round(self.ramp_share * clock.epochs))
            for i, target in enumerate(self.targets(features[:-1], peers)):
                losses[f"peer{i}/imitation"] = phi * soft_kl(peers[i], target, self.temperature)
            average = torch.stack(peers).mean(0)
            average = average.detach() if self.detach_leader_target else average
            losses["leader/imitation"] = phi * soft_kl(leader, average, self.temperature)
        yield losses

    def targets(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> list[Tensor]:
        """t_i of every peer, P x (B, C), from the peers' features P x (B, d) and logits P x (B, C)."""
        weights = self.attention(torch.stack([pooled(h) for h in features], dim=1))  # (B, P, P)
        stacked = torch.stack(list(logits), dim=1)  # (B, P, C)
        return list((weights.unsqueeze(-1) * stacked.unsqueeze(1)).sum(2).unbind(1))
