"""Variational information distillation (Ahn et al., CVPR 2019, arXiv:1904.05835).

    L = CE(z, y) + weight * sum over maps of the mean of 1/2 ((mu(f_s) - f_t)^2 / v + log v)

mu is a regressor of three 1x1 convolutions, v one variance per channel of the teacher's map (`connectors.VariationalRegressor`); both are
trained with the student. Maps are those of all stages but the stem; of a pair the larger is average-pooled to the smaller. Of texts the
mean is over each one's positions, and then over the texts.

Departures: maps and weight are the CRD benchmark's (Tian et al., ICLR 2020); the paper also predicts the logits. The constant
log(2 pi) / 2 is left out, as there.
Shapes: maps (B, c, h, w), v (c_t,).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import match_size, variational_information
from studygroup.methods.feature_pairs import stages_after_stem
from studygroup.methods.masks import masked_pairs
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks.connectors import VariationalRegressor
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class VID(OneTeacher):
    """A student whose maps predict the teacher's, with a trained variance."""

    weight: float = option(1.0, at_least=0.0, help="Weight of the information loss")

    def layers(self, network: nn.Module) -> list[str]:
        """Return all stages but the stem."""
        return stages_after_stem(network)

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create a regressor for each pair of maps."""
        self._regressors: list[VariationalRegressor] = []
        for i, (s, t, _) in enumerate(masked_pairs(student, teacher)):
            require(
                s.ndim == t.ndim == 4,
                f"the features are {tuple(s.shape)} and {tuple(t.shape)}, one sample each; vid takes maps (1, C, H, W)",
            )
            self._regressors.append(networks.extra_module(f"regressor{i}", lambda s=s, t=t: VariationalRegressor(s.shape[1], t.shape[1])))  # type: ignore[misc]
        self.regressors = nn.ModuleList(self._regressors)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the information loss, summed over the pairs of maps."""
        compared = []
        for regressor, (s, t, mask) in zip(self._regressors, masked_pairs(student, teacher), strict=True):
            s, t = match_size(s, t)
            compared.append(variational_information(regressor(s), regressor.log_scale, t, mask))
        return {"student0/information": self.weight * torch.stack(compared).sum()}
