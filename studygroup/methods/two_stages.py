"""What the methods have in common whose first stage learns from features only, and whose second one starts from what it left.

    first stage   L = what the method says of the features
    second stage  L = label_weight CE(z, y) + kd_weight T^2 KL(teacher || student) at temperature T

Each stage has a fresh optimiser. The learning rate of the first is constant.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method, StageSpec, require
from studygroup.methods.one_teacher import OneTeacher, check_weights
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import extract_features


class FirstStage(OneTeacher):
    """A student that learns from the frozen teacher's features alone, in train mode; its classifier is left as it is."""

    def __init__(self, student_layers: Sequence[str] | None = None, teacher_layers: Sequence[str] | None = None) -> None:
        """Args: student_layers, teacher_layers: as `OneTeacher`."""
        super().__init__(1.0, 0.0, 0.0, 1.0, student_layers, teacher_layers)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of the student's features and of what connects them to the teacher's."""
        student = extract_features(self.group[0], batch.inputs, self.student_paths)
        teacher = self.teacher.extract_features(batch.inputs, self.teacher_paths)
        yield self.feature_losses(student, teacher, batch, clock)


class SecondStage(Method):
    """A student that learns from the labels, and from a frozen teacher's predictions if they have a weight.

    Attributes:
        initial_epochs: of the first stage.
        initial_learning_rate: of the first stage; None for the run's.
    """

    needs_teacher = True

    def __init__(
        self,
        initial_epochs: int,
        initial_learning_rate: float | None,
        label_weight: float,
        kd_weight: float,
        temperature: float,
        student_layers: Sequence[str] | None,
        teacher_layers: Sequence[str] | None,
    ) -> None:
        """Check and keep the options that these methods share.

        Args:
            initial_epochs: of the first stage, at least 1.
            initial_learning_rate: of the first stage, above 0; None for the run's.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: where the first stage looks, as `OneTeacher`.
            teacher_layers: of as many of the teacher's.
        """
        super().__init__()
        check_initial(initial_epochs, initial_learning_rate)
        check_weights(temperature, label_weight=label_weight, kd_weight=kd_weight)
        self.initial_epochs = initial_epochs
        self.initial_learning_rate = initial_learning_rate
        self.label_weight = label_weight
        self.kd_weight = kd_weight
        self.temperature = temperature
        self.student_layers = student_layers
        self.teacher_layers = teacher_layers

    @abstractmethod
    def initial(self) -> Method:
        """The first stage."""

    def stages(self) -> list[StageSpec]:
        """List the first stage, then the second one, which starts from its weights."""
        return two_stages(self.initial(), self, self.initial_epochs, self.initial_learning_rate)

    def build(self, networks: NetworkFactory) -> None:
        """One student, and the teacher."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update; the teacher runs only if its predictions count."""
        logits = self.group[0](batch.inputs)  # (B, C)
        losses = {"student0/cross_entropy": self.label_weight * cross_entropy(logits, batch.labels)}
        if self.kd_weight:
            losses["student0/distillation"] = self.kd_weight * soft_kl(logits, self.teacher(batch.inputs), self.temperature)
        yield losses


def check_initial(epochs: int, learning_rate: float | None) -> None:
    """Raise UserError unless a first stage can have these."""
    require(epochs >= 1, f"initial_epochs is {epochs}; at least 1 is needed")
    require(learning_rate is None or learning_rate > 0.0, f"initial_learning_rate is {learning_rate}; it must be positive")


def two_stages(first: Method, second: Method, epochs: int, learning_rate: float | None) -> list[StageSpec]:
    """List a first stage at a constant learning rate, and a second one that starts from its weights.

    Args:
        first: method of the first stage.
        second: method of the second stage, which has the run's epochs and schedule.
        epochs: of the first stage.
        learning_rate: of the first stage; None for the run's.
    """
    initial = StageSpec("initial", first, epochs=epochs, constant_learning_rate=True, learning_rate=learning_rate)
    return [initial, StageSpec("train", second, starts_from=initial.name)]
