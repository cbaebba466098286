"""Online knowledge distillation via collaborative learning, KDCL (Guo et al., CVPR 2020).

    L   = sum over k of h CE(z_k, y) + w T^2 KL(softmax(t / T) || softmax(z_k / T))
    t   = one ensemble of all the networks' logits, made anew for each batch:
          mean     their mean
          naive    per sample, those of the network with the smallest cross-entropy
          minlogit t_c = min over i of (z_i,c - z_i,y)
          linear   per sample, the convex combination with the smallest cross-entropy
          general  sum over i of a_i z_i, a from the inverse covariance of the networks' errors

Every network sees an augmentation of its own of the same images; of texts, which are not augmented, all see the same. t is a target only.

Departures and readings:
- The default, preset "shaoeric", is the public reimplementation whose numbers later papers quote (ORC's Table 6 among them): mean of
  the logits, h = w = 1/2, T = 4. `preset="paper"` is the paper's sum: h = w = 1, and minlogit. Its T and the weight of its second
  term are not confirmed by us; they are options.
- general: the paper estimates the covariance on a validation split after every epoch. A method sees no such data; the estimate is
  from the previous epoch's training batches, and in the first epoch all weights are equal.
Shapes: B batch, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy, targets
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option

Variant = Literal["mean", "naive", "minlogit", "linear", "general"]
ENSEMBLES = {"mean": targets.mean, "naive": targets.naive, "minlogit": targets.minlogit, "linear": targets.linear}


@dataclass(eq=False, kw_only=True)
class KDCL(ComparesLogits):
    """Networks that learn from the labels and from an ensemble of all, each with its own augmentation of the images."""

    students: int = option(2, at_least=1, at_most=1000, help="Number of students K")
    preset: Literal["shaoeric", "paper"] = option("shaoeric", help="Defaults of the next three options")
    variant: Literal["mean", "naive", "minlogit", "linear", "general"] | None = option(
        None, help="Ensemble that the students imitate", default_help="mean; minlogit with preset paper"
    )
    label_weight: float | None = option(None, at_least=0.0, help="Weight h of the cross-entropy", default_help="0.5; 1 with preset paper")
    weight: float | None = option(None, at_least=0.0, help="Weight w of the imitation", default_help="0.5; 1 with preset paper")
    temperature: float = option(4.0, above=0.0, help="Softmax temperature T")
    views: bool = option(True, help="Give every student its own augmentation of the images")

    def __post_init__(self) -> None:
        """Fill in the preset's values."""
        super().__post_init__()
        paper = self.preset == "paper"
        self._variant: Variant = self.variant or ("minlogit" if paper else "mean")
        self._label_weight = (1.0 if paper else 0.5) if self.label_weight is None else self.label_weight
        self._weight = (1.0 if paper else 0.5) if self.weight is None else self.weight

    def build(self, networks: NetworkFactory) -> None:
        """Create K networks, of different architectures if there are peers."""
        self.group = Independent(networks.students(self.students))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        self.views = self.views and networks.vocabulary is None
        if self._variant == "general":
            self.covariance: Tensor  # of the previous epoch; the identity before there is one
            self.errors: Tensor  # sum over the current epoch
            self.seen: Tensor
            self.epoch: Tensor
            self.register_buffer("covariance", torch.eye(self.students))
            self.register_buffer("errors", torch.zeros(self.students, self.students))
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def partition(self) -> Partition:
        """Return one view per network."""
        return Partition(views=self.students if self.views else 1)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update all networks once; their losses have no graph in common."""
        logits, _ = self.group.study([batch.view(k) for k in range(self.students)], [[]] * self.students)  # K x (B, C)
        if self.students == 1:
            yield {"student0/cross_entropy": cross_entropy(logits[0], batch.targets)}
            return
        target = self.ensemble(torch.stack(logits).detach(), batch, clock)
        losses = {f"student{k}/cross_entropy": self._label_weight * cross_entropy(z, batch.targets) for k, z in enumerate(logits)}
        compared = [self.compare(z, target, batch.targets, self.temperature) for z in logits]
        yield losses | {f"student{k}/imitation": self._weight * loss for k, loss in enumerate(compared)}

    def ensemble(self, logits: Tensor, batch: Batch, clock: Clock) -> Tensor:
        """Return the ensemble t (B, C) of all logits (K, B, C), given the batch's labels."""
        if self._variant != "general":
            return ENSEMBLES[self._variant](logits, batch.labels)
        # At an epoch's start only: reading a number waits for the device.
        if clock.step == 0 and int(self.epoch) != clock.epoch and int(self.seen):
            self.covariance.copy_(self.errors / self.seen)
            self.errors.zero_()
            self.seen.zero_()
            self.epoch.fill_(clock.epoch)
        all_logits, labels = batch.all_gather(logits.transpose(0, 1)).transpose(0, 1), batch.all_gather(batch.labels)
        self.errors += targets.error_covariance(all_logits, labels) * len(labels)
        self.seen += len(labels)
        return targets.general(logits, batch.labels, self.covariance)
