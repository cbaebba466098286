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

from dataclasses import dataclass

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import hint
from studygroup.methods.feature_pairs import stages_after_stem
from studygroup.methods.masks import masked_pairs
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks.connectors import ConvReg, apply_connector
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class FitNet(OneTeacher):
    """A student whose intermediate map predicts the teacher's."""

    weight: float = option(100.0, at_least=0.0, help="Weight of the hint loss")

    def layers(self, network: nn.Module) -> list[str]:
        """Return the second stage after the stem."""
        known = stages_after_stem(network)
        require(
            len(known) > 1,
            f"{type(network).__name__} has one stage between its stem and its head, but the hint is at the second; name a layer",
        )
        return known[1:2]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create a regressor for each pair of maps."""
        self.regressors = nn.ModuleList(
            networks.extra_module(f"regressor{i}", lambda s=s, t=t: ConvReg(s.shape[1:], t.shape[1:]))  # type: ignore[misc]
            for i, (s, t, _) in enumerate(masked_pairs(student, teacher))
        )

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the hint loss, summed over the pairs of maps."""
        compared = [
            hint(apply_connector(regressor, s, mask), t, mask)
            for regressor, (s, t, mask) in zip(self.regressors, masked_pairs(student, teacher), strict=True)
        ]
        return {"student0/hint": self.weight * torch.stack(compared).sum()}
