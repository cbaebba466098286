"""What the methods with one frozen teacher whose features are watched have in common.

    L = label_weight CE(z, y) + kd_weight T^2 KL(teacher || student) at temperature T + what the method says of the features

Student and teacher see the same inputs, once each. The teacher runs in evaluation mode, without gradient. What a method trains beside
the student is made through `Maker.part`, moves with the student in the same update, and is thrown away afterwards. Networks that are
watched run as they are written, also where a run compiles them (`networks.observe`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.groups import Frozen, Independent, target_mode
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.masks import check_inputs, check_watched
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, extract_features


class OneTeacher(Method):
    """A student that learns from the labels, and from what one frozen network computes.

    A subclass says where it looks by default (`layers`), makes what is trained beside the student (`connect`), and compares (`lesson`).

    Attributes:
        teacher: the frozen network.
        student_places, teacher_places: paths of the modules whose outputs are watched.
    """

    needs_teacher = True
    student_paths: list[str]
    teacher_paths: list[str]

    def __init__(
        self,
        weight: float,
        label_weight: float,
        kd_weight: float,
        temperature: float,
        student_layers: Sequence[str] | None,
        teacher_layers: Sequence[str] | None,
    ) -> None:
        """Check and keep the options that these methods share.

        Args:
            weight: of the loss on features, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: paths of the student's modules to watch, or stages of a chain; by default what `layers` says.
            teacher_layers: of as many of the teacher's.
        """
        super().__init__()
        check_weights(temperature, weight=weight, label_weight=label_weight, kd_weight=kd_weight)
        self.weight = weight
        self.label_weight = label_weight
        self.kd_weight = kd_weight
        self.temperature = temperature
        self.student_layers = tuple(student_layers or ())
        self.teacher_layers = tuple(teacher_layers or ())

    def layers(self, network: nn.Module) -> list[str]:
        """Where the method looks if it is not told: at no maps, only at the pooled feature and the logits.

        Raises:
            UserError: the network does not say where its maps are, or has too few.
        """
        return []

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Make what is trained beside the student, for features of the shapes that one example has.

        Raises:
            UserError: the method cannot compare such features.
        """

    @abstractmethod
    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Named, weighted losses on what the two networks computed of the batch."""

    def build(self, networks: NetworkFactory) -> None:
        """One student, the teacher, and what connects them."""
        check_inputs(self, networks)
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())
        self.student_paths, student = self._shown("student", self.group[0], self.student_layers, networks.example())
        self.teacher_paths, teacher = self._shown("teacher", self.teacher.network, self.teacher_layers, networks.example())
        require(
            len(student.maps) == len(teacher.maps),
            f"the student is watched at {', '.join(self.student_paths) or 'its pooled feature'}, the teacher at "
            f"{', '.join(self.teacher_paths) or 'its pooled feature'}; name as many of each with student_layers and teacher_layers",
        )
        self.connect(networks, student, teacher)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of the student and of what connects it to the teacher."""
        student = extract_features(self.group[0], batch.inputs, self.student_paths)
        teacher = self.teacher.extract_features(batch.inputs, self.teacher_paths)
        losses = {"student0/cross_entropy": self.label_weight * cross_entropy(student.logits, batch.labels)}
        if self.kd_weight:
            losses["student0/distillation"] = self.kd_weight * soft_kl(student.logits, teacher.logits, self.temperature)
        yield losses | self.feature_losses(student, teacher, batch, clock)

    def _shown(self, whose: str, network: nn.Module, named: Sequence[str], example: Tensor) -> tuple[list[str], Features]:
        """The places to watch, and what a network shows there of an example (1, ...)."""
        weights = next(network.parameters(), example)
        example = example.to(weights.device, weights.dtype if example.is_floating_point() else example.dtype)
        try:
            places = list(named) or self.layers(network)
            with torch.no_grad(), target_mode(network, "eval"):
                seen = extract_features(network, example, places)
            if not example.is_floating_point():
                check_watched(seen, places)
            pairs(seen, seen)  # a pooled feature that is not known is said here
        except UserError as error:
            option = f"{whose}_layers"
            raise UserError(f"{option if option in self.options() else f'the {whose}'}: {error}") from error
        return places, seen


def check_weights(temperature: float, **weights: float) -> None:
    """Raise UserError unless a loss can have these weights, by name, and this temperature."""
    for name, value in weights.items():
        require(value >= 0.0, f"{name} is {value}; it must not be negative")
    require(temperature > 0.0, f"temperature is {temperature}; it must be positive")


def pairs(student: Features, teacher: Features) -> list[tuple[Tensor, Tensor]]:
    """What is compared with what: the watched maps (B, c, ...) in order, or, if none are watched, the pooled features (B, d)."""
    if not student.maps:
        return [(student.pooled, teacher.pooled)]
    return list(zip(student.maps, teacher.maps, strict=True))
