"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928).

    L = CE(z, y) + weight * sum over maps of the mean of (a_s - a_t)^2,   a = v / |v|,  v = mean over channels of f^2

Maps are those of all stages but the stem; of a pair the larger is average-pooled to the smaller. Of texts the mean is over each one's
positions, and then over the texts.

Departures: as in the CRD benchmark (Tian et al., ICLR 2020), whose weight is the default; the paper has the norm of a_s - a_t, its code
the mean of squares.
Shapes: maps (B, c, h, w), a (B, h w).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import attention_transfer
from studygroup.methods.feature_pairs import StagePairs
from studygroup.methods.masks import masked_pairs
from studygroup.methods.method import Losses
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class AT(StagePairs):
    """A student whose maps are active where the teacher's are."""

    weight: float = option(1000.0, at_least=0.0, help="Weight of the attention loss")

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the attention loss, summed over the pairs of maps."""
        compared = [attention_transfer(*pair) for pair in masked_pairs(student, teacher)]
        return {"student0/attention": self.weight * torch.stack(compared).sum()}
