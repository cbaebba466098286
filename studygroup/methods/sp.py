"""Similarity-preserving distillation (Tung and Mori, ICCV 2019, arXiv:1907.09682).

    L = CE(z, y) + weight / B^2 * sum of (N_s - N_t)^2,   N = F F^T with rows of unit length

F are the maps of a batch, one row per sample, by default those of the last stage. They may differ in everything but the batch.

Departures: none; the default weight is the CRD benchmark's (Tian et al., ICLR 2020) and the paper's.
Shapes: B batch, F (B, c h w), N (B, B).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import similarity_preserving
from studygroup.methods.method import Losses
from studygroup.methods.one_teacher import OneTeacher, pairs
from studygroup.networks.features import Features, feature_layers


class SP(OneTeacher):
    """Samples are as similar to each other in the student's maps as in the teacher's."""

    whole_batch = True

    def __init__(
        self,
        *,
        weight: float = 3000.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the similarities, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules that are compared; by default a chain's last stage before the head.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)

    def layers(self, network: nn.Module) -> list[str]:
        """The last stage."""
        return feature_layers(network)[-1:]

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The similarities of the whole batch."""
        compared = [similarity_preserving(batch.all_gather(s), batch.all_gather(t)) for s, t in pairs(student, teacher)]
        return {"student0/similarity": self.weight * torch.stack(compared).sum()}
