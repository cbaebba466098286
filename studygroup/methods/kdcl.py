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
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy, soft_kl, targets
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory

ENSEMBLES = {"mean": targets.mean, "naive": targets.naive, "minlogit": targets.minlogit, "linear": targets.linear}


class KDCL(Method):
    """Networks that learn from the labels and from an ensemble of all, each seeing an augmentation of its own."""

    covariance: Tensor
    errors: Tensor
    seen: Tensor
    epoch: Tensor

    def __init__(
        self,
        students: int = 2,
        *,
        preset: Literal["shaoeric", "paper"] = "shaoeric",
        variant: Literal["mean", "naive", "minlogit", "linear", "general"] | None = None,
        label_weight: float | None = None,
        weight: float | None = None,
        temperature: float = 4.0,
        views: bool = True,
    ) -> None:
        """Set the options.

        Args:
            students: K >= 1.
            preset: which values `variant`, `label_weight` and `weight` have if they are not given.
            variant: the ensemble: `"mean"`, with `preset="paper"` `"minlogit"`, unless given.
            label_weight: h >= 0, of the labels: 0.5, with `preset="paper"` 1, unless given.
            weight: w >= 0, of the ensemble: 0.5, with `preset="paper"` 1, unless given.
            temperature: T > 0.
            views: whether each network sees an augmentation of its own; otherwise all see the same.
        """
        super().__init__()
        paper = preset == "paper"
        variant = ("minlogit" if paper else "mean") if variant is None else variant
        known = (*ENSEMBLES, "general")
        require(variant in known, f"variant is {variant!r}; it must be one of {', '.join(known)}")
        label_weight = (1.0 if paper else 0.5) if label_weight is None else label_weight
        weight = (1.0 if paper else 0.5) if weight is None else weight
        require(students >= 1, f"students is {students}; at least 1 is needed")
        require(label_weight >= 0.0, f"label_weight is {label_weight}; it must not be negative")
        require(weight >= 0.0, f"weight is {weight}; it must not be negative")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        self.count = students
        self.variant = variant
        self.label_weight = label_weight
        self.weight = weight
        self.temperature = temperature
        self.views = views

    def build(self, networks: NetworkFactory) -> None:
        """K networks, of different architectures if the peers differ."""
        self.group = Independent(networks.students(self.count))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        self.views = self.views and networks.vocabulary is None
        if self.variant == "general":
            self.register_buffer("covariance", torch.eye(self.count))  # of the previous epoch; equal weights before there is one
            self.register_buffer("errors", torch.zeros(self.count, self.count))  # the running epoch's sum
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def partition(self) -> Partition:
        """One view per network."""
        return Partition(views=self.count if self.views else 1)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of all networks, whose losses have no graph in common."""
        logits, _ = self.group.study([batch.view(k) for k in range(self.count)], [[]] * self.count)  # K x (B, C)
        if self.count == 1:
            yield {"student0/cross_entropy": cross_entropy(logits[0], batch.labels)}
            return
        target = self.target(torch.stack(logits).detach(), batch, clock)
        losses = {f"student{k}/cross_entropy": self.label_weight * cross_entropy(z, batch.labels) for k, z in enumerate(logits)}
        yield losses | {f"student{k}/imitation": self.weight * soft_kl(z, target, self.temperature) for k, z in enumerate(logits)}

    def target(self, logits: Tensor, batch: Batch, clock: Clock) -> Tensor:
        """The ensemble t (B, C) of all logits (K, B, C) and the batch's labels."""
        if self.variant != "general":
            return ENSEMBLES[self.variant](logits, batch.labels)
        # At an epoch's start only: reading a number waits for the device.
        if clock.step == 0 and int(self.epoch) != clock.epoch and int(self.seen):
            self.covariance.copy_(self.errors / self.seen)
            self.errors.zero_()
            self.seen.zero_()
            self.epoch.fill_(clock.epoch)
        everyone, labels = batch.all_gather(logits.transpose(0, 1)).transpose(0, 1), batch.all_gather(batch.labels)
        self.errors += targets.error_covariance(everyone, labels) * len(labels)
        self.seen += len(labels)
        return targets.general(logits, batch.labels, self.covariance)
