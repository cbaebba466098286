"""Knowledge distillation by teacher assistants, TAKD (Mirzadeh et al., AAAI 2020, arXiv:1902.03393).

    L = (1 - alpha) CE(z, y) + alpha T^2 KL(teacher || student) at temperature T

from teacher to student by way of assistants, networks of sizes in between: each learns from the one before it, which is frozen.

Departures:
- alpha = .9 and T = 4, those of the CRD benchmark (Tian et al., ICLR 2020); the paper searches both for each pair of networks.
- The divergence is summed over classes; the authors' code takes the mean over them (`preset="takd"`), which weighs it 1/C of that.
- An assistant teaches as the hold-out selected it, not as the test set did.
- The first assistant may learn from several teachers (`combine`).
- That code never trains residual networks at a learning rate of .1, because a comparison in its schedule is always false; the schedule
  here is the run's.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.assistants import Assisted, Teachers
from studygroup.methods.method import Losses
from studygroup.methods.taught import ImitatesTeachers
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class TAKD(Assisted, ImitatesTeachers):
    """A student learns from the last of a chain of ever smaller assistants, the first of which learns from a large teacher."""

    takes_unlabelled = True

    alpha: float = option(0.9, at_least=0.0, at_most=1.0, help="Weight of the teacher's predictions; the cross-entropy has 1 - alpha")
    temperature: float = option(4.0, above=0.0, help="Softmax temperature T")
    preset: Literal["crd", "takd"] = option("crd", help="Sum the divergence over classes, or average it as the authors' code (takd)")

    def choose_teachers(self, earlier: Teachers) -> Teachers:
        """Choose the network before: each assistant, and the student, learns from it alone."""
        return earlier[-1:]

    def build(self, networks: NetworkFactory) -> None:
        """Create the student, and its teachers: the last network of the chain before it, or the run's teachers."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.build_teachers(networks)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        logits = self.group[0](batch.inputs)  # (B, C)
        kl = partial(soft_kl, reduction="elementwise_mean") if self.preset == "takd" else soft_kl
        teacher = self.teacher_logits(batch.inputs, self.temperature, clock)
        divergence = self.compare(logits, teacher, batch.targets, self.temperature, kl)
        yield {
            "student0/cross_entropy": (1 - self.alpha) * cross_entropy(logits, batch.targets),
            "student0/distillation": self.alpha * divergence,
        }
