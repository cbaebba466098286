"""Densely guided knowledge distillation, DGKD (Son et al., ICCV 2021, arXiv:2009.08825).

    L = (1 - alpha) CE(z, y) + alpha * sum over j in J of T^2 KL(teacher_j || student) at temperature T

The teachers are a large network and assistants of sizes in between, all frozen; each assistant was trained in this way by those larger
than itself. J leaves out `drop` of the teachers, drawn anew in every iteration.

Departures:
- alpha = .9, T = 4 and the divergence summed over classes, as for the other methods that learn from teachers; `preset="dgkd"` has the
  values of the authors' code, in which the labels count nothing.
- The paper multiplies the labels' term by the number of teachers; that code, which is followed, does not.
- At least one teacher is left, however many are to be dropped.
- An assistant teaches as the hold-out selected it, not as the test set did.
- There may be several large networks: they and the assistants count the same.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.assistants import Assisted, Teachers
from studygroup.methods.method import Losses
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class DGKD(Assisted):
    """A student learns from a large teacher and all of its ever smaller assistants at once, some of which are left out at random."""

    takes_unlabelled = True

    drop: int = option(1, at_least=0, help="Number of teachers to leave out in each iteration, at random; at least one stays")
    alpha: float = option(0.9, at_least=0.0, at_most=1.0, help="Weight of the teachers' predictions; the cross-entropy has 1 - alpha")
    temperature: float = option(4.0, above=0.0, help="Softmax temperature T")
    preset: Literal["crd", "dgkd"] = option(
        "crd", help="Sum the divergence over classes; dgkd averages it and sets drop 1, alpha 1, temperature 5, as the authors' code"
    )

    def __post_init__(self) -> None:
        """Apply the preset."""
        super().__post_init__()
        if self.preset == "dgkd":
            self.drop, self.alpha, self.temperature = 1, 1.0, 5.0

    def choose_teachers(self, earlier: Teachers) -> Teachers:
        """Choose the teacher and all assistants so far."""
        return earlier

    def build(self, networks: NetworkFactory) -> None:
        """Create the student and all its teachers."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teachers = nn.ModuleList(Frozen(networks.trained(j)) for j in range(max(1, len(networks.teachers))))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        logits = self.group[0](batch.inputs)  # (B, C)
        kl = partial(soft_kl, reduction="elementwise_mean") if self.preset == "dgkd" else soft_kl
        drawn = [self.teachers[j](batch.inputs) for j in self.draw_teachers(clock)]
        divergences = [self.compare(logits, teacher, batch.targets, self.temperature, kl) for teacher in drawn]
        yield {
            "student0/cross_entropy": (1 - self.alpha) * cross_entropy(logits, batch.targets),
            "student0/distillation": self.alpha * torch.stack(divergences).sum(),
        }

    def draw_teachers(self, clock: Clock) -> list[int]:
        """Draw J, the teachers of this iteration."""
        dropped = min(self.drop, len(self.teachers) - 1)
        return sorted(torch.randperm(len(self.teachers), generator=clock.generator("drop"))[dropped:].tolist())
