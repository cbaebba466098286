"""Distillation of activation boundaries, AB (Heo et al., AAAI 2019, arXiv:1811.03233).

    first stage   L = 3 / 1000 / B * sum over maps i = 0 .. n-1 of 2^(i - n + 1) l_i,  l_i = sum of relu(margin + s)^2 where t <= 0,
                                                                                            of relu(margin - s)^2 where t > 0
    second stage  L = label_weight CE(z, y) + kd_weight T^2 KL(teacher || student) at temperature T

s and t are the maps of student and teacher before their activation at the ends of all stages but the stem; s goes through a connector,
trained with it and thrown away: the identity where the shapes are equal, else a convolution with batch norm (`connectors.Connector`).
Sums over texts are over their own positions.

Departures:
- As in the CRD benchmark (Tian et al., ICLR 2020), the second stage has the labels only, after 30 first epochs for its 240; the paper
  adds the teacher's predictions (`kd_weight`).
- The factors of the maps are those of the authors' code.
- The first stage has the run's optimiser, fresh, at a constant learning rate. It leaves the head as it is, with the batch norm that ends
  a wide residual network, whose output is the last of the maps s (as in the benchmark's code).
Shapes: B batch, maps (B, c, h, w).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import activation_boundary
from studygroup.methods.feature_pairs import stages_after_stem
from studygroup.methods.masks import masked_pairs
from studygroup.methods.method import Losses
from studygroup.methods.two_stages import FirstStage, SecondStage
from studygroup.networks.connectors import Connector
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class AB(SecondStage):
    """A student whose neurons first learn to be active where the teacher's are, and which then learns from the labels."""

    margin: float = option(1.0, at_least=0.0, help="Margin of the boundary loss")

    def initial(self) -> Boundaries:
        """Create the method of the first stage."""
        return Boundaries(margin=self.margin, student_layers=self.student_layers, teacher_layers=self.teacher_layers)


@dataclass(eq=False, kw_only=True)
class Boundaries(FirstStage):
    """A student whose neurons learn to be active where the teacher's are: the first stage of `AB`."""

    margin: float = 1.0

    def layers(self, network: nn.Module) -> list[str]:
        """Return all stages but the stem."""
        return stages_after_stem(network)

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create the connector."""
        masked_pairs(student, teacher)  # raises if the lengths of texts differ
        shapes = [[maps.shape[1:] for maps in features.pre] for features in (student, teacher)]
        self.connector = networks.extra_module("connector", lambda: Connector(*shapes))

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the loss on activation boundaries."""
        connected = self.connector(student.pre, student.masks)
        return {"student0/boundary": activation_boundary(connected, teacher.pre, self.margin, student.masks)}
