"""Relational knowledge distillation (Park et al., CVPR 2019, arXiv:1904.05068).

    L = CE(z, y) + weight * (distance_weight * mean of h(p_s - p_t) + angle_weight * mean of h(c_s - c_t))

p are the distances of all pairs of samples by their mean, c the cosines of the angles of all triplets, h is Huber's loss, and samples
are their pooled features.

Departures: none; the default weights are the paper's and the CRD benchmark's (Tian et al., ICLR 2020).
Shapes: B batch, features (B, d), p (B, B), c (B, B, B).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import relational
from studygroup.methods.method import Losses
from studygroup.methods.one_teacher import OneTeacher, feature_pairs
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class RKD(OneTeacher):
    """A student in whose features the distances and angles between samples are as in the teacher's."""

    whole_batch = True

    weight: float = option(1.0, at_least=0.0, help="Weight of the relational loss")
    distance_weight: float = option(25.0, at_least=0.0, help="Weight of the distances within the relational loss")
    angle_weight: float = option(50.0, at_least=0.0, help="Weight of the angles within the relational loss")

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the relational loss over the whole batch, summed over the pairs of features."""
        compared = [
            relational(batch.all_gather(s), batch.all_gather(t), self.distance_weight, self.angle_weight)
            for s, t in feature_pairs(student, teacher)
        ]
        return {"student0/relations": self.weight * torch.stack(compared).sum()}
