"""Knowledge distillation (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531).

    L = (1 - alpha) CE(z, y) + alpha T^2 KL(teacher || student) at temperature T

Defaults: alpha = .9, T = 4, those of the CRD benchmark (Tian et al., ICLR 2020).
Departures: none.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory


class KD(Method):
    """One student learns from the labels and from a trained, frozen teacher's softened predictions."""

    needs_teacher = True

    def __init__(self, *, alpha: float = 0.9, temperature: float = 4.0) -> None:
        """Set the options.

        Args:
            alpha: weight in [0, 1] of the teacher; the labels have the rest.
            temperature: T > 0.
        """
        super().__init__()
        require(0.0 <= alpha <= 1.0, f"alpha is {alpha}; it must lie in [0, 1]")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        self.alpha = alpha
        self.temperature = temperature

    def build(self, networks: NetworkFactory) -> None:
        """One student, and the teacher."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update."""
        logits = self.group[0](batch.inputs)  # (B, C)
        yield {
            "student0/cross_entropy": (1 - self.alpha) * cross_entropy(logits, batch.labels),
            "student0/distillation": self.alpha * soft_kl(logits, self.teacher(batch.inputs), self.temperature),
        }
