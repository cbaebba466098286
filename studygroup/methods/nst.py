"""Neuron selectivity transfer (Huang and Wang, 2017, arXiv:1707.01219).

    L = CE(z, y) + weight * sum over maps of (mean k(s, s') - 2 mean k(s, t) + mean k(t, t')),   k(x, y) = (x . y)^2

s and t are the channels of a map as unit vectors over its positions. Maps are those of all stages but the stem; of a pair the larger is
average-pooled to the smaller.

Departures: maps and weight are the CRD benchmark's (Tian et al., ICLR 2020); the paper has the last map.
Shapes: maps (B, c, h, w); kernels (B, c_s, c_t).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import neuron_selectivity
from studygroup.methods.feature_pairs import StagePairs
from studygroup.methods.masks import masked_pairs
from studygroup.methods.method import Losses
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class NST(StagePairs):
    """A student whose channels are distributed as the teacher's: they are active at the same positions."""

    weight: float = option(50.0, at_least=0.0, help="Weight of the selectivity loss")

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the selectivity loss, summed over the pairs of maps."""
        compared = [neuron_selectivity(s, t) for s, t, _ in masked_pairs(student, teacher)]  # padding is zero and adds nothing
        return {"student0/selectivity": self.weight * torch.stack(compared).sum()}
