"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928).

    L = CE(z, y) + weight * sum over maps of the mean of (a_s - a_t)^2,   a = v / |v|,  v = mean over channels of f^2

Maps are those of all stages but the stem; of a pair the larger is average-pooled to the smaller. Of texts the mean is over each one's
positions, and then over the texts.

Departures: as in the CRD benchmark (Tian et al., ICLR 2020), whose weight is the default; the paper has the norm of a_s - a_t, its code
the mean of squares.
Shapes: maps (B, c, h, w), a (B, h w).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import attention_transfer
from studygroup.methods.feature_pairs import EveryStage
from studygroup.methods.masks import aligned
from studygroup.methods.method import Losses
from studygroup.networks.features import Features


class AT(EveryStage):
    """A student's maps are active where the teacher's are."""

    def __init__(
        self,
        *,
        weight: float = 1000.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the attention, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules that are compared; by default all stages of a chain but the stem.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The attention of every pair of maps."""
        return {"student0/attention": self.weight * torch.stack([attention_transfer(*pair) for pair in aligned(student, teacher)]).sum()}
