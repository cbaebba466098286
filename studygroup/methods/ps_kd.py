"""Progressive self-knowledge distillation, PS-KD (Kim, Ji, Yoon and Hwang, ICCV 2021, arXiv:2006.12000).

    L = (1 - a) CE(z, y) + a H(p, softmax(z)),   a = alpha (epoch + 1) / epochs, epochs from 0

H is the cross-entropy; p is what the network predicted for the sample when it last was in a batch, an epoch ago; at first, the one-hot
label. This is the cross-entropy with the target (1 - a) y + a p of the paper.

Departures:
- None from the authors' code for CIFAR-100: predictions are those of the training pass, on its augmentation and with its batch statistics.
- Smoothing, class weights and the second labels of mixed samples are in the cross-entropy with y, not in p. Of a mixed sample, p is the
  prediction for the mixture that it was part of: leave mixing off for the method of the paper.
Shapes: B batch, C classes, N training samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy, soft_cross_entropy
from studygroup.losses.numerics import as_float32
from studygroup.methods.method import Losses, Method
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class PSKD(Method):
    """One network whose targets are more and more what it predicted an epoch ago."""

    alpha: float = option(0.8, at_least=0.0, at_most=1.0, help="Weight of its own predictions in the last epoch")

    def build(self, networks: NetworkFactory) -> None:
        """Create the student, and the memory of its predictions."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.predictions: Tensor  # (N, C), rows sum to 1
        self.register_buffer("predictions", F.one_hot(networks.training_labels(), networks.num_classes).float())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once, and remember its predictions."""
        logits = self.group[0](batch.inputs)  # (B, C)
        past = self.predictions[batch.indices].log()
        with torch.no_grad():  # the memory is the same on all ranks
            now = batch.all_gather(as_float32(logits).softmax(-1)).to(self.predictions.dtype)
            self.predictions[batch.all_gather(batch.indices)] = now
        weight = self.alpha * (clock.epoch + 1) / clock.epochs
        yield {
            "student0/cross_entropy": (1 - weight) * cross_entropy(logits, batch.targets),
            "student0/imitation": weight * soft_cross_entropy(logits, past),
        }
