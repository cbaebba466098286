"""Collaborative learning of branches on a shared trunk, CL-ILR (Song and Chai, NeurIPS 2018, arXiv:1805.11761).

    L   = sum over k of L_k,   t_k = mean over j != k of z_j
    L_k = CE(z_k, y) + phi(t) T^2 KL(softmax(t_k / T) || softmax(z_k / T)),     T = 3     preset "okddip"
    L_k = beta CE(z_k, y) + (1 - beta) H(softmax(t_k / T), softmax(z_k / T)),   T = 2     preset "paper"

H is the cross-entropy. The gradient of the K branches is divided by K where it enters the trunk ("backpropagation rescaling").

Departures and readings:
- The default is the loss of the form that later comparisons ran (code of OKDDip, Chen et al., AAAI 2020), but with targets that are
  constants, as in the paper; `detach=False` is that code to the letter. `preset="paper"` is the paper's loss, without a ramp or T^2.
- One split, before the last stage, where the paper also splits in several places; `branch_from` moves it.
- The ramp is 80 of 300 epochs in the code; here it is that share of the epochs, so that short runs keep the shape.
- Any branch may be deployed, the best on the hold-out; without one, the first, as in the paper.
Shapes: B batch, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import Batch, LabelTargets
from studygroup.clock import Clock
from studygroup.groups import Branched
from studygroup.losses import cross_entropy, soft_cross_entropy, soft_kl
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, require
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option
from studygroup.schedules import ramp


@dataclass(eq=False, kw_only=True)
class CLILR(ComparesLogits):
    """Branches on a shared trunk that each learn from the labels and from the other branches' mean logits."""

    students: int = option(4, at_least=1, at_most=1000, help="Number of branches K")
    preset: Literal["okddip", "paper"] = option("okddip", help="Form of the loss")
    temperature: float | None = option(None, above=0.0, help="Softmax temperature T", default_help="3; 2 with preset paper")
    beta: float = option(0.5, at_least=0.0, at_most=1.0, help="Weight of the labels with preset paper; the imitation has 1 - beta")
    ramp_share: float | None = option(
        None,
        at_least=0.0,
        at_most=1.0,
        help="Fraction of the epochs over which the imitation ramps up",
        default_help="80/300; 0 with preset paper",
    )
    detach: bool = option(True, help="Stop the gradient at the other branches' logits")
    rescale: bool = option(True, help="Divide the gradient by K where it enters the trunk")
    branch_from: str | None = option(None, help="Stage at which the branches begin", default_help="the last one before the head")

    def __post_init__(self) -> None:
        """Fill in the preset's values."""
        super().__post_init__()
        paper = self.preset == "paper"
        self._temperature = (2.0 if paper else 3.0) if self.temperature is None else self.temperature
        self._ramp_share = (0.0 if paper else 80 / 300) if self.ramp_share is None else self.ramp_share

    def build(self, networks: NetworkFactory) -> None:
        """Create K branches on one trunk."""
        require(not networks.peers, "cl_ilr's students are branches of one network; it takes no peers")
        self.group = Branched(networks.copy, self.students, branch_from=self.branch_from, rescale=self.rescale)
        self.candidates = self.student_names()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update trunk and branches together, once."""
        logits = self.group(batch.inputs)  # K x (B, C)
        phi = ramp(clock.epoch, 0, round(self._ramp_share * clock.epochs))
        yield {name: loss for k in range(self.students) for name, loss in self.student_loss(k, logits, batch.targets, phi).items()}

    def student_loss(self, k: int, logits: Sequence[Tensor], targets: LabelTargets, phi: float) -> Losses:
        """Return student k's losses, given all branches' logits K x (B, C), the targets and the weight phi of imitation."""
        peers = [z for j, z in enumerate(logits) if j != k]
        hard = cross_entropy(logits[k], targets)
        if not peers:
            return {f"student{k}/cross_entropy": hard}
        target = torch.stack(peers).mean(0)
        target = target.detach() if self.detach else target
        kl = soft_cross_entropy if self.preset == "paper" else soft_kl
        soft = self.compare(logits[k], target, targets, self._temperature, kl)
        if self.preset == "paper":
            hard, soft = self.beta * hard, (1 - self.beta) * soft
        return {f"student{k}/cross_entropy": hard, f"student{k}/imitation": phi * soft}
