"""R-Drop: regularised dropout (Liang et al., NeurIPS 2021, arXiv:2106.14448).

    L = 1/2 [CE(z1, y) + CE(z2, y)] + alpha/2 [KL(p1 || p2) + KL(p2 || p1)],   p = softmax(z)

z1 and z2 are the logits of two passes of one network over the same samples, which differ by their dropout. Gradient flows to both.

Departures:
- The loss of the authors' code: Eq. 4 of the paper has the sum of the two cross-entropies, so its alpha is twice as large.
- Where the run augments images or leaves out tokens, each pass has an augmentation of its own. Without dropout and augmentation the passes
  are equal, and the student is trained as alone.
- Both passes are one forward pass of 2 B samples, as in the authors' code; batch norm normalises them together.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from studygroup.batch import Batch, LabelTargets, Partition
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class RDrop(Method):
    """One network whose predictions under two draws of its dropout are to agree."""

    takes_unlabelled = True

    alpha: float = option(1.0, at_least=0.0, help="Weight of the symmetric divergence between the two passes")

    def build(self, networks: NetworkFactory) -> None:
        """Create the student."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()

    def partition(self) -> Partition:
        """Ask for two augmented views of each sample."""
        return Partition(views=2)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        logits = self.group[0](torch.cat([batch.view(0), batch.view(1)]))  # (2 B, C)
        first, second = logits.chunk(2)
        yield {
            "student0/cross_entropy": cross_entropy(logits, LabelTargets.cat([batch.targets, batch.targets])),
            "student0/divergence": self.alpha / 2 * (soft_kl(first, second) + soft_kl(second, first)),
        }
