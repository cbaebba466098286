"""Codistillation (Anil et al., ICLR 2018, arXiv:1804.03235).

    L_k = CE(z_k, y) + w H(mean over j != k of p_j, softmax(z_k)),   p_j = softmax of the stale copy of student j

H is the cross-entropy. Every E steps the copies become the students as they are; before the end of a burn-in there is CE alone.

Departures and readings (there is no official code):
- The workers run in one process, or on ranks of their own (`--shard members`), which send each other logits and, every E steps, weights.
  By default they see the same batches; `division` deals each its own share, as workers with data of their own have it.
- Copies answer in evaluation mode, for they are checkpoints. They are refreshed at the steps 0, E, 2 E, ... of the run.
- The exchange interval and the burn-in depend on the task in the paper; the defaults are ours.
Shapes: b_k samples of student k (B if all see the same), C classes, K students.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.groups import Frozen, Group, Independent, batched_call
from studygroup.losses import cross_entropy, soft_cross_entropy
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory


class StaleCopies(nn.Module):
    """Where a student's knowledge of the others comes from: copies of all students as of the last exchange.

    They are part of the method's state, so a resumed run goes on with the same copies.
    """

    def __init__(self, group: Group) -> None:
        """Args: group: the students; copied at once."""
        super().__init__()
        self.copies = nn.ModuleList(Frozen(copy.deepcopy(group[k])) for k in range(len(group)))

    def exchange(self, group: Group) -> None:
        """Become the students as they are: parameters and buffers."""
        group.sync_students()
        for k, held in enumerate(self.copies):
            held.get_submodule("network").load_state_dict(group.export(k).state_dict())

    def opinions(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """For every student the logarithm of the others' mean predicted distribution on its own inputs.

        Args:
            inputs: K tensors (b_k, ...); may be empty, and one and the same for several students.

        Returns:
            K x (b_k, C) float32, without gradient.
        """
        answers: list[list[Tensor]] = [[] for _ in inputs]
        for j, held in enumerate(self.copies):
            pupils = {k: x for k, x in enumerate(inputs) if k != j and len(x)}
            for k, logits in (batched_call(held, pupils) if pupils else {}).items():
                answers[k].append(logits.float().softmax(-1))
        return [torch.stack(found).mean(0).log() if found else x.new_zeros(0) for x, found in zip(inputs, answers, strict=True)]


class Codistillation(Method):
    """Networks that learn from the labels and from the predictions of the others as they were a while ago."""

    group: Independent

    def __init__(
        self,
        students: int = 2,
        *,
        weight: float = 1.0,
        exchange_interval: int = 50,
        burn_in: float = 1.0,
        burn_in_unit: Literal["epochs", "steps"] = "epochs",
        division: Literal["none", "fixed", "epoch"] = "none",
        overlap: float = 0.0,
        batch: Literal["total", "per_student"] = "per_student",
    ) -> None:
        """Set the options.

        Args:
            students: K >= 1.
            weight: w >= 0, of the others.
            exchange_interval: E >= 1, steps from one exchange of copies to the next.
            burn_in: how long students learn from the labels alone, at least 0.
            burn_in_unit: what `burn_in` counts.
            division: `"none"`: all students see the same batches; `"fixed"`: the training set is divided into K shares once, `"epoch"`:
                at every epoch.
            overlap: share in [0, 1] of the others' samples that each student is dealt as well.
            batch: with a division, whether the batch size is each student's, or that of all together.
        """
        super().__init__()
        require(students >= 1, f"students is {students}; at least 1 is needed")
        require(weight >= 0.0, f"weight is {weight}; it must not be negative")
        require(exchange_interval >= 1, f"exchange_interval is {exchange_interval}; it must be at least 1")
        require(burn_in >= 0.0, f"burn_in is {burn_in}; it must not be negative")
        self.count = students
        self.weight = weight
        self.exchange_interval = exchange_interval
        self.burn_in = burn_in
        self.burn_in_unit = burn_in_unit
        self.division: Literal["none", "fixed", "epoch"] = division
        self.overlap = overlap
        self.batch = batch
        self.partition()  # checks division and overlap

    def build(self, networks: NetworkFactory) -> None:
        """K networks, of different architectures if the peers differ, and their copies."""
        self.group = Independent(networks.students(self.count))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        self.sources = StaleCopies(self.group)

    def partition(self) -> Partition:
        """Each student its own share, if asked for."""
        return Partition(self.count, self.division, self.overlap, self.batch == "per_student")

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of all students, whose losses have no graph in common."""
        done = clock.epoch * clock.steps + clock.step
        if done % self.exchange_interval == 0:
            self.sources.exchange(self.group)
        shares = batch.per_student(self.count)
        inputs = [share.inputs for share in shares]
        own, _ = self.group.study(inputs, [[]] * self.count)  # K x (b_k, C)
        losses = {f"student{k}/cross_entropy": cross_entropy(own[k], share.labels) for k, share in enumerate(shares) if len(share)}
        if self.count > 1 and (done if self.burn_in_unit == "steps" else clock.progress) >= self.burn_in:
            for k, opinion in enumerate(self.sources.opinions(inputs)):
                if len(shares[k]):
                    losses[f"student{k}/imitation"] = self.weight * soft_cross_entropy(own[k], opinion)
        yield losses
