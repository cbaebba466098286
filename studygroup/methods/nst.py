"""Neuron selectivity transfer (Huang and Wang, 2017, arXiv:1707.01219).

    L = CE(z, y) + weight * sum over maps of (mean k(s, s') - 2 mean k(s, t) + mean k(t, t')),   k(x, y) = (x . y)^2

s and t are the channels of a map as unit vectors over its positions. Maps are those of all stages but the stem; of a pair the larger is
average-pooled to the smaller.

Departures: maps and weight are the CRD benchmark's (Tian et al., ICLR 2020); the paper has the last map.
Shapes: maps (B, c, h, w); kernels (B, c_s, c_t).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import neuron_selectivity
from studygroup.methods.feature_pairs import EveryStage
from studygroup.methods.masks import aligned
from studygroup.methods.method import Losses
from studygroup.networks.features import Features


class NST(EveryStage):
    """A student's channels are distributed as the teacher's: they answer to the same places."""

    def __init__(
        self,
        *,
        weight: float = 50.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the selectivity, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules that are compared; by default all stages of a chain but the stem.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The selectivity of every pair of maps."""
        compared = [neuron_selectivity(s, t) for s, t, _ in aligned(student, teacher)]  # nothing comes of what is zero
        return {"student0/selectivity": self.weight * torch.stack(compared).sum()}
