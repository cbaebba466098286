"""On-the-fly native ensemble, ONE (Lan, Zhu and Gong, NeurIPS 2018, arXiv:1806.04606).

    g   = softmax(ReLU(BN(W pool(trunk(x)) + b)))   per sample, over the K branches
    z_e = sum over k of g_k z_k
    L   = sum over k of CE(z_k, y) + CE(z_e, y) + phi(t) sum over k of T^2 KL(softmax(z_e / T) || softmax(z_k / T))

Departures and readings:
- z_e is a target only, as in the authors' code: the gate learns from CE(z_e, y) alone. `detach=False` lets gradient into it, as
  in the code of OKDDip (Chen et al., AAAI 2020).
- The authors' code has three branches; four, as in later comparisons, are the default.
- The ramp is 80 of 300 epochs in that code; here it is that share of the epochs, so that short runs keep the shape.
- Any branch may be deployed, the best on the hold-out; without one, the first, as in the paper. The gated ensemble z_e is evaluated
  beside the members, as `gated`; it is no plain network and is not exported.
Shapes: B batch, C classes, K students, c channels of the trunk's output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


class Gate(nn.Sequential):
    """Weights of K branches per sample: trunk output (B, c, ...) -> (B, K) float32, rows sum to 1."""

    def __init__(self, channels: int, students: int) -> None:
        """Args: channels: c. students: K."""
        super().__init__(nn.Linear(channels, students), nn.BatchNorm1d(students), nn.ReLU())

    def forward(self, shared: Tensor) -> Tensor:
        """Args: shared: (B, c, ...)."""
        scores: Tensor = super().forward(pooled(shared))  # type: ignore[no-untyped-call]
        return torch.softmax(scores.float(), dim=-1)


@dataclass(eq=False, kw_only=True)
class ONE(ComparesLogits):
    """Branches on a shared trunk that learn from the labels and from their own gated ensemble."""

    students: int = option(4, at_least=1, at_most=1000, help="Number of branches K")
    temperature: float = option(3.0, above=0.0, help="Softmax temperature T")
    ramp_share: float = option(80 / 300, at_least=0.0, at_most=1.0, help="Fraction of the epochs over which the imitation ramps up")
    detach: bool = option(True, help="Stop the gradient at the ensemble's logits, so that only its cross-entropy trains the gate")
    branch_from: str | None = option(None, help="Stage at which the branches begin", default_help="the last one before the head")

    def build(self, networks: NetworkFactory) -> None:
        """Create K branches on one trunk, and the gate; a single branch needs none."""
        require(not networks.peers, "one's students are branches of one network; it takes no peers")
        self.group: Branched = Branched(networks.copy, self.students, branch_from=self.branch_from)
        self.candidates = self.student_names()
        if self.students > 1:
            channels, _ = self.group.widths(networks.example())
            self.gate = networks.extra_module("gate", lambda: Gate(channels, self.students))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update trunk, branches and gate together, once."""
        shared = self.group.trunk(batch.inputs)  # (B, c, ...)
        logits = self.group.branch_outputs(shared)  # K x (B, C)
        losses = {f"student{k}/cross_entropy": cross_entropy(z, batch.targets) for k, z in enumerate(logits)}
        if self.students > 1:
            ensemble = self.ensemble(shared, logits)
            losses["group/gated"] = cross_entropy(ensemble, batch.targets)
            target = ensemble.detach() if self.detach else ensemble
            phi = ramp(clock.epoch, 0, round(self.ramp_share * clock.epochs))
            for k, z in enumerate(logits):
                losses[f"student{k}/imitation"] = phi * self.compare(z, target, batch.targets, self.temperature)
        yield losses

    def logits(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return every member's logits (B, C), and the gated ensemble's."""
        shared = self.group.trunk(inputs)
        logits = self.group.branch_outputs(shared)
        found = dict(zip(self.student_names(), logits, strict=True))
        return found | ({"gated": self.ensemble(shared, logits)} if self.students > 1 else {})

    def ensemble(self, shared: Tensor, logits: Sequence[Tensor]) -> Tensor:
        """Return z_e (B, C), given the trunk's output (B, c, ...) and the branches' logits K x (B, C)."""
        weights: Tensor = self.gate(shared)  # (B, K)
        return (weights.unsqueeze(-1) * torch.stack(list(logits), dim=1)).sum(1)
