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
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.losses.logits import Reduction
from studygroup.methods.assistants import assistant_stages
from studygroup.methods.method import Losses, Method, StageSpec, require
from studygroup.networks.factory import NetworkFactory


class DGKD(Method):
    """A student learns from a large teacher and from all of its ever smaller assistants at once, some of whom are left out at random."""

    needs_teacher = True

    def __init__(
        self,
        assistants: Sequence[str] | None = None,
        *,
        assistant_epochs: int | None = None,
        drop: int = 1,
        alpha: float = 0.9,
        temperature: float = 4.0,
        preset: Literal["crd", "dgkd"] = "crd",
    ) -> None:
        """Set the options.

        Args:
            assistants: networks, from the largest to the smallest, in which order they are trained; a run needs at least one.
            assistant_epochs: epochs of each assistant's training; by default as many as the student's.
            drop: how many teachers are left out in each iteration; never all.
            alpha: weight in [0, 1] of the teachers; the labels have the rest.
            temperature: T > 0.
            preset: `"dgkd"` sets drop 1, alpha 1, temperature 5, and takes the divergence's mean over classes, as the authors' code.
        """
        super().__init__()
        if preset == "dgkd":
            drop, alpha, temperature = 1, 1.0, 5.0
        listed = assistants is None or (isinstance(assistants, Sequence) and not isinstance(assistants, str))
        require(listed, f"assistants is {assistants!r}; it must be a list of networks")
        require(assistant_epochs is None or assistant_epochs >= 1, f"assistant_epochs is {assistant_epochs}; at least 1 is needed")
        require(drop >= 0, f"drop is {drop}; it must not be negative")
        require(0.0 <= alpha <= 1.0, f"alpha is {alpha}; it must lie in [0, 1]")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        self.assistants = tuple(assistants or ())
        self.assistant_epochs = assistant_epochs
        self.drop = drop
        self.alpha = alpha
        self.temperature = temperature
        self.reduction: Reduction = "elementwise_mean" if preset == "dgkd" else "batchmean"

    def stages(self) -> list[StageSpec]:
        """Each assistant, and the student, learns from the teacher and all assistants before it."""
        return assistant_stages(self, "dgkd", self.assistants, self.assistant_epochs, lambda before: before)

    def build(self, networks: NetworkFactory) -> None:
        """One student, and all who teach it."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teachers = nn.ModuleList(Frozen(networks.trained(j)) for j in range(max(1, len(networks.teachers))))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update."""
        logits = self.group[0](batch.inputs)  # (B, C)
        divergences = [
            soft_kl(logits, self.teachers[j](batch.inputs), self.temperature, reduction=self.reduction) for j in self.draw(clock)
        ]
        yield {
            "student0/cross_entropy": (1 - self.alpha) * cross_entropy(logits, batch.labels),
            "student0/distillation": self.alpha * torch.stack(divergences).sum(),
        }

    def draw(self, clock: Clock) -> list[int]:
        """J: who teaches in this iteration."""
        dropped = min(self.drop, len(self.teachers) - 1)
        return sorted(torch.randperm(len(self.teachers), generator=clock.generator("drop"))[dropped:].tolist())
