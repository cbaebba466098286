"""Probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv:1803.10837).

    L = CE(z, y) + weight * mean over (B, B) of p_t log(p_t / p_s)

p_ij is how probable sample j is as a neighbour of i: (1 + cosine) / 2 of their pooled features, in rows that sum to 1.

Departures: none from the authors' code, whose mean is 1/B of the paper's sum over a row; the default weight is the CRD benchmark's
(Tian et al., ICLR 2020).
Shapes: B batch, features (B, d), p (B, B).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import probabilistic_transfer
from studygroup.methods.method import Losses
from studygroup.methods.one_teacher import OneTeacher, pairs
from studygroup.networks.features import Features


class PKT(OneTeacher):
    """Samples are neighbours in the student's features with the probabilities that they have in the teacher's."""

    whole_batch = True

    def __init__(
        self,
        *,
        weight: float = 30000.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the divergence, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules that are compared; by default the pooled feature.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The divergence, over the whole batch."""
        compared = [probabilistic_transfer(batch.all_gather(s), batch.all_gather(t)) for s, t in pairs(student, teacher)]
        return {"student0/neighbours": self.weight * torch.stack(compared).sum()}
