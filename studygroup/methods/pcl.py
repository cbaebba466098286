"""Peer collaborative learning, PCL (Wu and Gong, AAAI 2021, arXiv:2006.04147).

    L = CE(z_e, y) + sum over k of CE(z_k, y) + phi(t) [KL(p_e || p_k) + 1/(K-1) * sum over j != k of KL(p'_j || p_k)]

with KL at temperature T, times T^2. K peers are branches on one trunk, each with an augmentation of its own. z_e are the logits of a linear
classifier of all peers' features, concatenated: the peer ensemble teacher. p' are the predictions of the peers' temporal means, networks
whose weights are exponential moving averages of the peers', on the peers' augmentations: the peer mean teachers. Targets are constants.

    w' <- d w' + (1 - d) w   after each step n = 1, 2, ..., with d = min(decay, 1 - 1/n)

Departures:
- From the paper's abstract and a public reimplementation, which was read; the rest of the paper was not.
- The ramp is 80 of 300 epochs there; here it is that share of the epochs, so that short runs keep the shape.
- That reimplementation deploys the best of the temporal means. Here the peers are; with `--ema 0.999`, averages of them are, too.
Shapes: B batch, C classes, K students, d length of the features.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.groups import Branched, pooled
from studygroup.losses import cross_entropy
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, require
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option
from studygroup.schedules import ramp


@dataclass(eq=False, kw_only=True)
class PCL(ComparesLogits):
    """Branches that learn from a classifier of all their features, and from the moving averages of each other."""

    students: int = option(3, at_least=1, at_most=1000, help="Number of branches K")
    ensemble_weight: float = option(1.0, at_least=0.0, help="Weight of the imitation of the ensemble")
    mean_weight: float = option(1.0, at_least=0.0, help="Weight of the imitation of the other branches' temporal means")
    temperature: float = option(3.0, above=0.0, help="Softmax temperature T")
    decay: float = option(0.999, at_least=0.0, below=1.0, help="Decay of the temporal means")
    ramp_share: float = option(80 / 300, at_least=0.0, at_most=1.0, help="Fraction of the epochs over which the imitation ramps up")
    views: bool = option(True, help="Give every branch its own augmentation of the images")
    branch_from: str | None = option(None, help="Stage at which the branches begin", default_help="the last one before the head")

    def build(self, networks: NetworkFactory) -> None:
        """Create K branches on one trunk, the classifier of their features, and their temporal means."""
        require(not networks.peers, "pcl's students are branches of one network; it takes no peers")
        self.group: Branched = Branched(networks.copy, self.students, branch_from=self.branch_from)
        self.candidates = self.student_names()
        self.views = self.views and networks.vocabulary is None
        if self.students > 1:
            _, width = self.group.widths(networks.example())
            self.fused = networks.extra_module("fused", lambda: nn.Linear(self.students * width, networks.num_classes))
            self.means = copy.deepcopy(self.group).requires_grad_(False)

    def partition(self) -> Partition:
        """Return one view per branch."""
        return Partition(views=self.students if self.views else 1)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update trunk, branches and the fused classifier together, once."""
        features = features_of(self.group, batch)
        logits = self.group.classify(features)  # K x (B, C)
        losses = {f"student{k}/cross_entropy": cross_entropy(z, batch.targets) for k, z in enumerate(logits)}
        if self.students > 1:
            ensemble = self.fused(torch.cat([pooled(h) for h in features], 1))
            losses["group/cross_entropy"] = cross_entropy(ensemble, batch.targets)
            with torch.no_grad():
                means = self.means.classify(features_of(self.means, batch))
            phi = ramp(clock.epoch, 0, round(self.ramp_share * clock.epochs))
            for k, z in enumerate(logits):
                taught = [self.compare(z, mean, batch.targets, self.temperature) for j, mean in enumerate(means) if j != k]
                fused = self.compare(z, ensemble.detach(), batch.targets, self.temperature)
                losses[f"student{k}/ensemble_imitation"] = phi * self.ensemble_weight * fused
                losses[f"student{k}/mean_imitation"] = phi * self.mean_weight * torch.stack(taught).mean()
        yield losses

    @torch.no_grad()
    def after_step(self, clock: Clock) -> None:
        """Move the temporal means towards the branches."""
        if self.students > 1:
            steps = clock.epoch * clock.steps + clock.step + 1
            decay = min(self.decay, 1 - 1 / steps)
            for mean, weight in zip(self.means.parameters(), self.group.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)


def features_of(group: Branched, batch: Batch) -> list[Tensor]:
    """Return the input of each branch's classifier, K x (B, d), on its own view; the trunk runs once for equal views."""
    shared = {id(view): group.trunk(view) for view in (batch.views or (batch.inputs,))}
    return group.own_features([shared[id(batch.view(k))] for k in range(len(group))])
