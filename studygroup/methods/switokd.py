"""Switchable online knowledge distillation, SwitOKD (Qian, Wang, Yin, Hong and Wang, ECCV 2022).

    G_ts = |p_t - p_s|,  d_s = |p_s - y|,  d_t = |p_t - y|      means over the batch of L1 distances, y one-hot
    t is too far ahead of s if  G_ts > d_s - exp(-d_t / (d_s + d_t)) d_t  and  d_t < d_s

    student s : CE(z_s, y) + sum over j != s of KL(p_j || p_s)
    teacher t : CE(z_t, y) + sum over s that it is not too far ahead of, and over other teachers, of KL(p_j || p_t)

All networks are trained from scratch. A teacher that is too far ahead of all students pauses ("expert mode"): this batch does not update
it. The teachers are the largest networks; among equals, the last.

Departures:
- From the authors' code for two and three networks, which was read; the paper was not, but for its code's README. That code uses one of the
  two students' factors exp(..) for both where one teacher has two students; here each has its own.
- Of mixed samples, y is the mixed label.
Shapes: B batch, C classes, K networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import Batch, LabelTargets
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy
from studygroup.losses.numerics import as_float32
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, require
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.registry import parameter_count
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class SwitOKD(ComparesLogits):
    """Networks that learn from each other; a larger one pauses while it is too far ahead of the smaller ones."""

    whole_batch = True  # a batch has one gap

    students: int = option(2, at_least=2, at_most=1000, help="Number of networks K, teachers included")
    teachers: int = option(1, at_least=1, at_most=999, help="Number of them, the largest, that are teachers")
    temperature: float = option(1.0, above=0.0, help="Softmax temperature T of the imitation; the loss has the factor T^2")

    def __post_init__(self) -> None:
        """Check that a student is left."""
        super().__post_init__()
        require(self.teachers < self.students, f"teachers is {self.teachers} of {self.students} networks; at least one must be a student")

    def build(self, networks: NetworkFactory) -> None:
        """Create K networks, of different architectures if there are peers."""
        self.group = Independent(networks.students(self.students))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        by_size = sorted(range(self.students), key=lambda k: (parameter_count(self.group[k]), k))
        self.ahead = sorted(by_size[-self.teachers :])  # the teachers

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update all networks once, but for teachers that pause."""
        logits: list[Tensor] = self.group(batch.inputs)  # K x (B, C)
        yield {name: loss for k in range(self.students) for name, loss in self.losses_of(k, logits, batch).items()}

    def losses_of(self, k: int, logits: Sequence[Tensor], batch: Batch) -> Losses:
        """Return the losses of network k, given all logits K x (B, C); none of a teacher that pauses."""
        others = [j for j in range(self.students) if j != k]
        if k in self.ahead:
            students = [j for j in others if j not in self.ahead]
            taught_by = [s for s in students if not self.too_far_ahead(logits[k], logits[s], batch.targets)]
            if not taught_by:
                return {}
            others = [j for j in others if j in taught_by or j in self.ahead]
        imitation = torch.stack([self.compare(logits[k], logits[j].detach(), batch.targets, self.temperature) for j in others])
        return {
            f"student{k}/cross_entropy": cross_entropy(logits[k], batch.targets),
            f"student{k}/imitation": imitation.sum(),
        }

    @torch.no_grad()
    def too_far_ahead(self, teacher: Tensor, student: Tensor, targets: LabelTargets) -> bool:
        """Return whether the gap between logits (B, C) exceeds its threshold, over the samples of all ranks."""
        p_t, p_s = (as_float32(z).softmax(-1) for z in (teacher, student))
        y = label_distribution(targets, p_t)
        distances = torch.stack([(p_t - p_s).abs().sum(-1), (p_s - y).abs().sum(-1), (p_t - y).abs().sum(-1)], 1)  # (b, 3)
        gap, d_s, d_t = targets.all_gather(distances).mean(0)
        threshold = d_s - torch.exp(-d_t / (d_s + d_t)) * d_t
        return bool((gap > threshold) & (d_t < d_s))


def label_distribution(targets: LabelTargets, like: Tensor) -> Tensor:
    """Return the labels as distributions (B, C), mixed for mixed samples."""
    classes = like.shape[-1]
    first = F.one_hot(targets.labels, classes).to(like)
    if targets.mix is None:
        return first
    return torch.lerp(F.one_hot(targets.mix.labels, classes).to(like), first, targets.mix.share.to(like)[:, None])
