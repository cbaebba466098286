"""Relational knowledge distillation (Park et al., CVPR 2019, arXiv:1904.05068).

    L = CE(z, y) + weight * (distance_weight * mean of h(p_s - p_t) + angle_weight * mean of h(c_s - c_t))

p are the distances of all pairs of samples by their mean, c the cosines of the angles of all triplets, h is Huber's loss, and samples
are their pooled features.

Departures: none; the default weights are the paper's and the CRD benchmark's (Tian et al., ICLR 2020).
Shapes: B batch, features (B, d), p (B, B), c (B, B, B).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import relational
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher, pairs
from studygroup.networks.features import Features


class RKD(OneTeacher):
    """Samples lie to each other in the student's features, in distances and angles, as in the teacher's."""

    whole_batch = True

    def __init__(
        self,
        *,
        weight: float = 1.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the relations, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            distance_weight: of the distances among the relations, at least 0.
            angle_weight: of the angles among them, at least 0.
            student_layers: paths of the student's modules that are compared; by default the pooled feature.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)
        require(distance_weight >= 0.0, f"distance_weight is {distance_weight}; it must not be negative")
        require(angle_weight >= 0.0, f"angle_weight is {angle_weight}; it must not be negative")
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The relations of the whole batch."""
        compared = [
            relational(batch.all_gather(s), batch.all_gather(t), self.distance_weight, self.angle_weight)
            for s, t in pairs(student, teacher)
        ]
        return {"student0/relations": self.weight * torch.stack(compared).sum()}
