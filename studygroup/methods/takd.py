"""Knowledge distillation by teacher assistants, TAKD (Mirzadeh et al., AAAI 2020, arXiv:1902.03393).

    L = (1 - alpha) CE(z, y) + alpha T^2 KL(teacher || student) at temperature T

from teacher to student by way of assistants, networks of sizes in between: each learns from the one before it, which is frozen.

Departures:
- alpha = .9 and T = 4, those of the CRD benchmark (Tian et al., ICLR 2020); the paper searches both for each pair of networks.
- The divergence is summed over classes; the authors' code takes the mean over them (`preset="takd"`), which weighs it 1/C of that.
- An assistant teaches as the hold-out selected it, not as the test set did.
- That code never trains residual networks at a learning rate of .1, because a comparison in its schedule is always false; the schedule
  here is the run's.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.losses.logits import Reduction
from studygroup.methods.assistants import assistant_stages
from studygroup.methods.method import Losses, Method, StageSpec, require
from studygroup.networks.factory import NetworkFactory


class TAKD(Method):
    """A student learns from the last of a chain of ever smaller assistants, the first of which learns from a large teacher."""

    needs_teacher = True

    def __init__(
        self,
        assistants: Sequence[str] | None = None,
        *,
        assistant_epochs: int | None = None,
        alpha: float = 0.9,
        temperature: float = 4.0,
        preset: Literal["crd", "takd"] = "crd",
    ) -> None:
        """Set the options.

        Args:
            assistants: networks, from the one that learns from the teacher to the one that teaches the student; a run needs at
                least one.
            assistant_epochs: epochs of each assistant's training; by default as many as the student's.
            alpha: weight in [0, 1] of the teacher; the labels have the rest.
            temperature: T > 0.
            preset: `"takd"` takes the divergence's mean over classes, as the authors' code.
        """
        super().__init__()
        listed = assistants is None or (isinstance(assistants, Sequence) and not isinstance(assistants, str))
        require(listed, f"assistants is {assistants!r}; it must be a list of networks")
        require(assistant_epochs is None or assistant_epochs >= 1, f"assistant_epochs is {assistant_epochs}; at least 1 is needed")
        require(0.0 <= alpha <= 1.0, f"alpha is {alpha}; it must lie in [0, 1]")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        self.assistants = tuple(assistants or ())
        self.assistant_epochs = assistant_epochs
        self.alpha = alpha
        self.temperature = temperature
        self.reduction: Reduction = "elementwise_mean" if preset == "takd" else "batchmean"

    def stages(self) -> list[StageSpec]:
        """Each assistant, and the student, learns from the one before it; the first one from the teacher."""
        return assistant_stages(self, "takd", self.assistants, self.assistant_epochs, lambda before: before[-1:])

    def build(self, networks: NetworkFactory) -> None:
        """One student, and the last of those before it."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update."""
        logits = self.group[0](batch.inputs)  # (B, C)
        divergence = soft_kl(logits, self.teacher(batch.inputs), self.temperature, reduction=self.reduction)
        yield {
            "student0/cross_entropy": (1 - self.alpha) * cross_entropy(logits, batch.labels),
            "student0/distillation": self.alpha * divergence,
        }
