"""Probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv:1803.10837).

    L = CE(z, y) + weight * mean over (B, B) of p_t log(p_t / p_s)

p_ij is how probable sample j is as a neighbour of i: (1 + cosine) / 2 of their pooled features, in rows that sum to 1.

Departures: none from the authors' code, whose mean is 1/B of the paper's sum over a row; the default weight is the CRD benchmark's
(Tian et al., ICLR 2020).
Shapes: B batch, features (B, d), p (B, B).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import probabilistic_transfer
from studygroup.methods.method import Losses
from studygroup.methods.one_teacher import OneTeacher, feature_pairs
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class PKT(OneTeacher):
    """A student in whose features samples are neighbours with the same probabilities as in the teacher's."""

    whole_batch = True

    weight: float = option(30000.0, at_least=0.0, help="Weight of the divergence of neighbour probabilities")

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the divergence over the whole batch, summed over the pairs of features."""
        compared = [probabilistic_transfer(batch.all_gather(s), batch.all_gather(t)) for s, t in feature_pairs(student, teacher)]
        return {"student0/neighbours": self.weight * torch.stack(compared).sum()}
