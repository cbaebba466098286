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

from collections.abc import Sequence

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import match_size, variational_information
from studygroup.methods.feature_pairs import stages_after_stem
from studygroup.methods.masks import aligned
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks.connectors import VariationalRegressor
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features


class VID(OneTeacher):
    """A student's maps predict the teacher's, with learnt certainty."""

    _regressors: list[VariationalRegressor]

    def __init__(
        self,
        *,
        weight: float = 1.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the information, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules that are compared; by default all stages of a chain but the stem.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)

    def layers(self, network: nn.Module) -> list[str]:
        """All stages but the stem."""
        return stages_after_stem(network)

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """A regressor for each pair of maps."""
        self._regressors = []
        for i, (s, t, _) in enumerate(aligned(student, teacher)):
            require(
                s.ndim == t.ndim == 4,
                f"the features watched are {tuple(s.shape)} and {tuple(t.shape)}, one sample each; vid takes maps (1, C, H, W)",
            )
            self._regressors.append(networks.extra_module(f"regressor{i}", lambda s=s, t=t: VariationalRegressor(s.shape[1], t.shape[1])))  # type: ignore[misc]
        self.regressors = nn.ModuleList(self._regressors)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The information in every pair of maps."""
        compared = []
        for regressor, (s, t, mask) in zip(self._regressors, aligned(student, teacher), strict=True):
            s, t = match_size(s, t)
            compared.append(variational_information(regressor(s), regressor.log_scale, t, mask))
        return {"student0/information": self.weight * torch.stack(compared).sum()}
