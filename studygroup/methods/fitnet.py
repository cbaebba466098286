"""FitNets: hints (Romero et al., ICLR 2015, arXiv:1412.6550).

    L = CE(z, y) + weight * mean of (r(f_s) - f_t)^2

f are maps in the middle of the networks, by default at the end of the second stage after the stem (f2); r is a convolution with batch
norm and ReLU that makes the student's map as large as the teacher's (`connectors.ConvReg`), trained with the student. Of texts the
mean is over each one's positions, and then over the texts.

Departures: the paper trains the lower half of the student by the hint first, then everything by distillation. Here, as in the CRD
benchmark (Tian et al., ICLR 2020), whose weights are the defaults, there is one stage with both.
Shapes: maps (B, c, h, w).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import hint
from studygroup.methods.feature_pairs import stages_after_stem
from studygroup.methods.masks import aligned
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks.connectors import ConvReg, apply_connector
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features


class FitNet(OneTeacher):
    """A student's map in the middle predicts the teacher's."""

    def __init__(
        self,
        *,
        weight: float = 100.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the hint, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules that learn; by default a chain's second stage after the stem.
            teacher_layers: paths of as many of the teacher's modules, the hints.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)

    def layers(self, network: nn.Module) -> list[str]:
        """The second stage after the stem."""
        known = stages_after_stem(network)
        require(
            len(known) > 1,
            f"{type(network).__name__} has one stage between its stem and its head, and the hint is at the second; name another",
        )
        return known[1:2]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """A regressor for each pair of maps."""
        self.regressors = nn.ModuleList(
            networks.extra_module(f"regressor{i}", lambda s=s, t=t: ConvReg(s.shape[1:], t.shape[1:]))  # type: ignore[misc]
            for i, (s, t, _) in enumerate(aligned(student, teacher))
        )

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The hints."""
        compared = [
            hint(apply_connector(regressor, s, mask), t, mask)
            for regressor, (s, t, mask) in zip(self.regressors, aligned(student, teacher), strict=True)
        ]
        return {"student0/hint": self.weight * torch.stack(compared).sum()}
