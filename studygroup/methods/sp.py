"""Similarity-preserving distillation (Tung and Mori, ICCV 2019, arXiv:1907.09682).

    L = CE(z, y) + weight / B^2 * sum of (N_s - N_t)^2,   N = F F^T with rows of unit length

F are the maps of a batch, one row per sample, by default those of the last stage. They may differ in everything but the batch.

Departures: none; the default weight is the CRD benchmark's (Tian et al., ICLR 2020) and the paper's.
Shapes: B batch, F (B, c h w), N (B, B).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import similarity_preserving
from studygroup.methods.method import Losses
from studygroup.methods.one_teacher import OneTeacher, feature_pairs
from studygroup.networks.features import Features, feature_layers
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class SP(OneTeacher):
    """A student in whose maps samples are as similar to each other as in the teacher's."""

    whole_batch = True

    weight: float = option(3000.0, at_least=0.0, help="Weight of the similarity loss")

    def layers(self, network: nn.Module) -> list[str]:
        """Return the last stage."""
        return feature_layers(network)[-1:]

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the similarity loss over the whole batch, summed over the pairs of maps."""
        compared = [similarity_preserving(batch.all_gather(s), batch.all_gather(t)) for s, t in feature_pairs(student, teacher)]
        return {"student0/similarity": self.weight * torch.stack(compared).sum()}
