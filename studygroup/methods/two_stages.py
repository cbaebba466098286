"""Bases of the methods of two stages.

    first stage   L = the method's losses on features
    second stage  L = label_weight CE(z, y) + kd_weight T^2 KL(teacher || student) at temperature T

The second stage starts from the weights of the first. Each has a fresh optimiser; the learning rate of the first is constant.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent, target_mode
from studygroup.losses import cross_entropy
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, Method
from studygroup.methods.one_teacher import FeatureComparison
from studygroup.methods.stage_spec import StageSpec
from studygroup.networks.chain import Chain
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class TwoStages(Method):
    """A method whose stage starts from the weights of an initial one."""

    initial_epochs: int = option(30, at_least=1, help="Epochs of the first stage; --epochs are those of the second")
    initial_learning_rate: float | None = option(
        None, above=0.0, help="Constant learning rate of the first stage", default_help="the run's"
    )

    @abstractmethod
    def initial(self) -> Method:
        """Create the method of the first stage."""

    def stages(self) -> list[StageSpec]:
        """List the first stage, then the second one, which starts from its weights."""
        rate = self.initial_learning_rate
        first = StageSpec("initial", self.initial(), epochs=self.initial_epochs, constant_learning_rate=True, learning_rate=rate)
        return [first, StageSpec("train", self, starts_from=first.name)]


@dataclass(eq=False, kw_only=True)
class FirstStage(FeatureComparison):
    """A student that learns from the frozen teacher's features alone. Its head is not trained: it stays in eval mode, as it was made."""

    student_layers: Sequence[str] | None = None
    teacher_layers: Sequence[str] | None = None

    def build(self, networks: NetworkFactory) -> None:
        """Create the student with a frozen head, the teacher, and the modules between them."""
        super().build(networks)
        for module in self.head():
            module.requires_grad_(False)

    def head(self) -> list[nn.Module]:
        """Return the blocks of the student's head, which a wide residual network begins with a batch norm; none if they are not known."""
        student = self.group[0]
        return [getattr(student, name) for name in student.stages["head"]] if isinstance(student, Chain) else []

    def extract(self, batch: Batch) -> tuple[Features, Features]:
        """Return the features of student and teacher, with the student's head in eval mode."""
        with ExitStack() as modes:
            for module in self.head():
                modes.enter_context(target_mode(module, "eval"))
            return super().extract(batch)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student's features, and the modules between them and the teacher's, once."""
        student, teacher = self.extract(batch)
        yield self.feature_losses(student, teacher, batch, clock)


@dataclass(eq=False, kw_only=True)
class SecondStage(TwoStages, ComparesLogits):
    """A student that learns from the labels, and from a frozen teacher's predictions if they have a weight."""

    needs_teacher = True

    label_weight: float = option(1.0, at_least=0.0, help="Weight of the cross-entropy in the second stage")
    kd_weight: float = option(0.0, at_least=0.0, help="Weight of the teacher's softened predictions in the second stage")
    temperature: float = option(4.0, above=0.0, help="Softmax temperature T of these predictions")
    student_layers: Sequence[str] | None = option(
        None, help="Student layers to compare in the first stage: stage names or module paths", default_help="the method's own choice"
    )
    teacher_layers: Sequence[str] | None = option(None, help="As many teacher layers", default_help="the method's own choice")

    def build(self, networks: NetworkFactory) -> None:
        """Create the student and the teacher."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once; the teacher runs only if its predictions have a weight."""
        logits = self.group[0](batch.inputs)  # (B, C)
        losses = {"student0/cross_entropy": self.label_weight * cross_entropy(logits, batch.targets)}
        if self.kd_weight:
            compared = self.compare(logits, self.teacher(batch.inputs), batch.targets, self.temperature)
            losses["student0/distillation"] = self.kd_weight * compared
        yield losses
