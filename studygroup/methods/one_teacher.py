"""Base of the methods whose student learns from the features of one frozen teacher.

    L = label_weight CE(z, y) + kd_weight T^2 KL(teacher || student) at temperature T + the method's losses on features

Student and teacher run once each on the same inputs, the teacher in evaluation mode without gradient. Modules that a method trains beside
the student are made by `NetworkFactory.extra_module`, updated together with the student, and thrown away afterwards. Networks whose
features are extracted run uncompiled, also where a run compiles networks (`networks.features.extract_features`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.groups import Frozen, Independent, target_mode
from studygroup.losses import cross_entropy
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.masks import check_inputs, check_maps
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, extract_features
from studygroup.parameters import option


class FeatureComparison(Method):
    """A student, a frozen teacher, and losses on the features of both.

    A subclass defines the default layers (`layers`), the trained modules between the networks (`connect`), and `feature_losses`.

    Attributes:
        teacher: the frozen network.
        student_layers, teacher_layers: options, layers to compare; None for the default layers.
        student_paths, teacher_paths: paths of the modules whose outputs are compared.
    """

    needs_teacher = True
    student_layers: Sequence[str] | None
    teacher_layers: Sequence[str] | None
    student_paths: list[str]
    teacher_paths: list[str]

    def layers(self, network: nn.Module) -> list[str]:
        """Return the default layers of a network: none, so that only the pooled feature and the logits are extracted.

        Raises:
            UserError: the network's layers are unknown, or too few.
        """
        return []

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create the modules that are trained beside the student, for features of one example.

        Raises:
            UserError: the method cannot compare such features.
        """

    @abstractmethod
    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return named, weighted losses on the features of the batch."""

    def build(self, networks: NetworkFactory) -> None:
        """Create the student, the teacher, and the modules between them."""
        check_inputs(self, networks)
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())
        self.student_paths, student = self._try_layers("student", self.group[0], self.student_layers, networks.example())
        self.teacher_paths, teacher = self._try_layers("teacher", self.teacher.network, self.teacher_layers, networks.example())
        require(
            len(student.maps) == len(teacher.maps),
            f"the student's layers are {', '.join(self.student_paths) or 'its pooled feature'}, the teacher's "
            f"{', '.join(self.teacher_paths) or 'its pooled feature'}; name as many of each with student_layers and teacher_layers",
        )
        self.connect(networks, student, teacher)

    def extract(self, batch: Batch) -> tuple[Features, Features]:
        """Return the features of student and teacher; the teacher's have no gradient."""
        student = extract_features(self.group[0], batch.inputs, self.student_paths)
        return student, self.teacher.extract_features(batch.inputs, self.teacher_paths)

    def _try_layers(self, role: str, network: nn.Module, named: Sequence[str] | None, example: Tensor) -> tuple[list[str], Features]:
        """Return the paths of the layers to compare, and their features of an example (1, ...)."""
        weights = next(network.parameters(), example)
        example = example.to(weights.device, weights.dtype if example.is_floating_point() else example.dtype)
        try:
            paths = list(named or ()) or self.layers(network)
            with torch.no_grad(), target_mode(network, "eval"):
                features = extract_features(network, example, paths)
            if not example.is_floating_point():
                check_maps(features, paths)
            feature_pairs(features, features)  # raises if the pooled feature is unknown
        except UserError as error:
            option = f"{role}_layers"
            raise UserError(f"{option if option in self.options() else f'the {role}'}: {error}") from error
        return paths, features


@dataclass(eq=False, kw_only=True)
class OneTeacher(FeatureComparison, ComparesLogits):
    """A student that learns from the labels, and from the predictions and features of a frozen teacher."""

    weight: float = option(1.0, at_least=0.0, help="Weight of the loss on features")
    label_weight: float = option(1.0, at_least=0.0, help="Weight of the cross-entropy")
    kd_weight: float = option(0.0, at_least=0.0, help="Weight of the teacher's softened predictions")
    temperature: float = option(4.0, above=0.0, help="Softmax temperature T of these predictions")
    student_layers: Sequence[str] | None = option(
        None, help="Student layers to compare: stage names or module paths, in order", default_help="the method's own choice"
    )
    teacher_layers: Sequence[str] | None = option(None, help="As many teacher layers", default_help="the method's own choice")

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student, and the modules between it and the teacher, once."""
        student, teacher = self.extract(batch)
        losses = {"student0/cross_entropy": self.label_weight * cross_entropy(student.logits, batch.targets)}
        if self.kd_weight:
            compared = self.compare(student.logits, teacher.logits, batch.targets, self.temperature)
            losses["student0/distillation"] = self.kd_weight * compared
        yield losses | self.feature_losses(student, teacher, batch, clock)


def feature_pairs(student: Features, teacher: Features) -> list[tuple[Tensor, Tensor]]:
    """Pair the features of student and teacher: maps (B, c, ...) in order or, without layers, the pooled features (B, d)."""
    if not student.maps:
        return [(student.pooled, teacher.pooled)]
    return list(zip(student.maps, teacher.maps, strict=True))
