"""Knowledge distillation (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531).

    L = (1 - alpha) CE(z, y) + alpha T^2 KL(teacher || student) at temperature T

Defaults: alpha = .9, T = 4, those of the CRD benchmark (Tian et al., ICLR 2020).
Departures: none.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class KD(Method):
    """A student that learns from the labels and from a frozen teacher's softened predictions."""

    needs_teacher = True

    alpha: float = option(0.9, at_least=0.0, at_most=1.0, help="Weight of the teacher's predictions; the cross-entropy has 1 - alpha")
    temperature: float = option(4.0, above=0.0, help="Softmax temperature T")

    def build(self, networks: NetworkFactory) -> None:
        """Create the student and the teacher."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        logits = self.group[0](batch.inputs)  # (B, C)
        yield {
            "student0/cross_entropy": (1 - self.alpha) * cross_entropy(logits, batch.targets),
            "student0/distillation": self.alpha * soft_kl(logits, self.teacher(batch.inputs), self.temperature),
        }
