"""Codistillation (Anil et al., ICLR 2018, arXiv:1804.03235).

    L_k = CE(z_k, y) + w H(mean over j != k of p_j, softmax(z_k)),   p_j = softmax of the stale copy of student j

H is the cross-entropy. Every E steps the copies are refreshed from the students; during a burn-in there is CE alone.

Departures and readings (there is no official code):
- The workers run in one process, or on ranks of their own (`--shard members`), which exchange logits and, every E steps, weights.
  By default they see the same batches; with `division` each has its own share of the samples, like workers with separate data.
- Copies predict in evaluation mode, because they are checkpoints. They are refreshed at the steps 0, E, 2 E, ... of the run.
- The exchange interval and the burn-in depend on the task in the paper; the defaults are ours.
Shapes: b_k samples of student k (B if all see the same), C classes, K students.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch, Division, Partition
from studygroup.clock import Clock
from studygroup.groups import Frozen, Group, Independent, batched_call
from studygroup.losses import cross_entropy, soft_cross_entropy
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


class StaleCopies(nn.Module):
    """Copies of all students as of the last exchange: the teachers of the other students.

    They are part of the method's state dict, so a resumed run continues with the same copies.
    """

    def __init__(self, group: Group) -> None:
        """Args: group: the students, which are copied."""
        super().__init__()
        self.copies = nn.ModuleList(Frozen(copy.deepcopy(group[k])) for k in range(len(group)))

    def exchange(self, group: Group) -> None:
        """Copy the students' current parameters and buffers, from all ranks."""
        group.sync_students()
        for k, stale in enumerate(self.copies):
            stale.get_submodule("network").load_state_dict(group.export(k).state_dict())

    def log_opinions(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return for every student the logarithm of the other copies' mean probabilities on the student's own inputs.

        Args:
            inputs: K tensors (b_k, ...); may be empty, and one tensor may be given for several students.

        Returns:
            K x (b_k, C) float32, without gradient.
        """
        probabilities: list[list[Tensor]] = [[] for _ in inputs]
        for j, stale in enumerate(self.copies):
            needed = {k: x for k, x in enumerate(inputs) if k != j and len(x)}
            for k, logits in (batched_call(stale, needed) if needed else {}).items():
                probabilities[k].append(logits.float().softmax(-1))
        return [torch.stack(found).mean(0).log() if found else x.new_zeros(0) for x, found in zip(inputs, probabilities, strict=True)]


@dataclass(eq=False, kw_only=True)
class Codistillation(ComparesLogits):
    """Networks that learn from the labels and from the predictions of earlier copies of each other."""

    takes_unlabelled = True

    students: int = option(2, at_least=1, at_most=1000, help="Number of students K")
    weight: float = option(1.0, at_least=0.0, help="Weight w of the imitation")
    temperature: float = option(1.0, above=0.0, help="Softmax temperature T of both; the cross-entropy has no factor T^2")
    exchange_interval: int = option(50, at_least=1, help="Steps E between exchanges of the copies")
    burn_in: float = option(1.0, at_least=0.0, help="Time during which students learn from the labels only")
    burn_in_unit: Literal["epochs", "steps"] = option("epochs", help="Unit of burn_in")
    division: Division = option(
        "none",
        help="Train all students on the same batches (none), or each on its own share of the training set, drawn once (fixed) or per epoch",
    )
    overlap: float = option(0.0, at_least=0.0, at_most=1.0, help="Fraction of the other students' samples that each student gets as well")
    batch: Literal["total", "per_student"] = option(
        "per_student", help="Samples that the batch size counts, if they are divided: all students' or each student's"
    )

    def build(self, networks: NetworkFactory) -> None:
        """Create K networks, of different architectures if there are peers, and their copies."""
        self.group: Independent = Independent(networks.students(self.students))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        self.sources = StaleCopies(self.group)

    def partition(self) -> Partition:
        """Return each student's own share of the samples, if they are divided."""
        return Partition(self.students, self.division, self.overlap, self.batch == "per_student")

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update all students once; their losses have no graph in common."""
        steps = clock.epoch * clock.steps + clock.step
        if steps % self.exchange_interval == 0:
            self.sources.exchange(self.group)
        own_batches = batch.per_student(self.students)
        inputs = [own.inputs for own in own_batches]
        logits, _ = self.group.study(inputs, [[]] * self.students)  # K x (b_k, C)
        losses = {f"student{k}/cross_entropy": cross_entropy(logits[k], own.targets) for k, own in enumerate(own_batches) if len(own)}
        if self.students > 1 and (steps if self.burn_in_unit == "steps" else clock.progress) >= self.burn_in:
            for k, opinion in enumerate(self.sources.log_opinions(inputs)):
                if len(own_batches[k]):
                    imitation = self.compare(logits[k], opinion, own_batches[k].targets, self.temperature, soft_cross_entropy)
                    losses[f"student{k}/imitation"] = self.weight * imitation
        yield losses
