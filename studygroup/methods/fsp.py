"""A gift from knowledge distillation: the flow of solution procedure, FSP (Yim, Joo, Bae and Kim, CVPR 2017).

    first stage   L = sum over consecutive maps of the mean of (G_s - G_t)^2,  G(F, F')[i, j] = mean over positions of F_i F'_j
    second stage  L = label_weight CE(z, y) + kd_weight T^2 KL(teacher || student) at temperature T

Maps are those at the ends of all stages, the stem's, too; of two consecutive ones the larger is pooled to the smaller. Student and teacher
must have the same numbers of channels. Of texts the mean is over each one's positions, and all maps must be of one length.

Departures: as in the CRD benchmark (Tian et al., ICLR 2020): 30 first epochs for 240 of the second, at a constant learning rate. The
first stage has the run's optimiser, fresh, and leaves the classifier as it is.
Shapes: B batch, maps (B, c, h, w), G (B, c', c).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import flow_of_solution
from studygroup.methods.masks import check_lengths
from studygroup.methods.method import Losses
from studygroup.methods.two_stages import FirstStage, SecondStage
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, feature_layers


@dataclass(eq=False, kw_only=True)
class FSP(SecondStage):
    """A student whose maps first learn to relate from stage to stage as the teacher's do, and which then learns from the labels."""

    def initial(self) -> Flows:
        """Create the method of the first stage."""
        return Flows(student_layers=self.student_layers, teacher_layers=self.teacher_layers)


@dataclass(eq=False, kw_only=True)
class Flows(FirstStage):
    """A student whose maps learn to relate from stage to stage as the teacher's do: the first stage of `FSP`."""

    def layers(self, network: nn.Module) -> list[str]:
        """Return all stages."""
        return feature_layers(network)

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Check that the widths are equal, and that there is a flow."""
        check_lengths([*student.masks, *teacher.masks])
        flow_of_solution(student.maps, teacher.maps)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the loss on flows."""
        return {"student0/flow": flow_of_solution(student.maps, teacher.maps, student.masks[0])}
