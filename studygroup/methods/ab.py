"""Distillation of activation boundaries, AB (Heo et al., AAAI 2019, arXiv:1811.03233).

    first stage   L = 3 / 1000 / B * sum over maps i = 0 .. n-1 of 2^(i - n + 1) l_i,  l_i = sum of relu(margin + s)^2 where t <= 0,
                                                                                            of relu(margin - s)^2 where t > 0
    second stage  L = label_weight CE(z, y) + kd_weight T^2 KL(teacher || student) at temperature T

s and t are the maps of student and teacher before their activation at the ends of all stages but the stem; s goes through a connector,
trained with it and thrown away: the identity where the shapes are equal, else a convolution with batch norm (`connectors.Connector`).
Sums over texts end where these end.

Departures:
- As in the CRD benchmark (Tian et al., ICLR 2020), the second stage has the labels only, after 30 first epochs for its 240; the paper
  adds the teacher's predictions (`kd_weight`).
- The factors of the maps are those of the authors' code.
- The first stage has the run's optimiser, fresh, at a constant learning rate; its weight decay does not reach the classifier, which is
  left as it is.
Shapes: B batch, maps (B, c, h, w).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import activation_boundary
from studygroup.methods.feature_pairs import stages_after_stem
from studygroup.methods.masks import aligned
from studygroup.methods.method import Losses, require
from studygroup.methods.two_stages import FirstStage, SecondStage
from studygroup.networks.connectors import Connector
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features


class AB(SecondStage):
    """A student whose neurons first learn to be active where the teacher's are, and which then learns from the labels."""

    def __init__(
        self,
        *,
        initial_epochs: int = 30,
        initial_learning_rate: float | None = None,
        margin: float = 1.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            initial_epochs: of the first stage; the run's epochs are the second's.
            initial_learning_rate: of the first stage, constant; by default the run's.
            margin: of the boundary loss, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules that learn; by default all stages of a chain but the stem.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(initial_epochs, initial_learning_rate, label_weight, kd_weight, temperature, student_layers, teacher_layers)
        require(margin >= 0.0, f"margin is {margin}; it must not be negative")
        self.margin = margin

    def initial(self) -> Boundaries:
        """The first stage."""
        return Boundaries(self.margin, self.student_layers, self.teacher_layers)


class Boundaries(FirstStage):
    """A student whose neurons learn to be active where the teacher's are: the first stage of `AB`."""

    def __init__(
        self, margin: float = 1.0, student_layers: Sequence[str] | None = None, teacher_layers: Sequence[str] | None = None
    ) -> None:
        """Args: margin, student_layers, teacher_layers: of `AB`."""
        super().__init__(student_layers, teacher_layers)
        self.margin = margin

    def layers(self, network: nn.Module) -> list[str]:
        """All stages but the stem."""
        return stages_after_stem(network)

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """The connector."""
        aligned(student, teacher)
        shapes = [[maps.shape[1:] for maps in features.pre] for features in (student, teacher)]
        self.connector = networks.extra_module("connector", lambda: Connector(*shapes))

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The boundaries."""
        return {
            "student0/boundary": activation_boundary(self.connector(student.pre, student.masks), teacher.pre, self.margin, student.masks)
        }
