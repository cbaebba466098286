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
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Branched
from studygroup.losses import cross_entropy, soft_cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory
from studygroup.schedules import ramp


class CLILR(Method):
    """Branches on a shared trunk that each learn from the labels and from the others' average."""

    def __init__(
        self,
        students: int = 4,
        *,
        preset: Literal["okddip", "paper"] = "okddip",
        temperature: float | None = None,
        beta: float = 0.5,
        ramp_share: float | None = None,
        detach: bool = True,
        rescale: bool = True,
        branch_from: str | None = None,
    ) -> None:
        """Set the options.

        Args:
            students: K >= 1 branches.
            preset: which form of the loss, see above.
            temperature: T > 0; by default 3, with `preset="paper"` 2.
            beta: weight in [0, 1] of the labels with `preset="paper"`; the others have the rest.
            ramp_share: share in [0, 1] of the epochs over which the weight of imitation rises; by default 80/300, with `preset="paper"` 0.
            detach: whether the others are targets only.
            rescale: whether the gradient is divided by K where it enters the trunk.
            branch_from: the stage with which branches begin; the last one before the head by default.
        """
        super().__init__()
        paper = preset == "paper"
        temperature = (2.0 if paper else 3.0) if temperature is None else temperature
        ramp_share = (0.0 if paper else 80 / 300) if ramp_share is None else ramp_share
        require(students >= 1, f"students is {students}; at least 1 is needed")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        require(0.0 <= beta <= 1.0, f"beta is {beta}; it must lie in [0, 1]")
        require(0.0 <= ramp_share <= 1.0, f"ramp_share is {ramp_share}; it must lie in [0, 1]")
        self.count = students
        self.preset = preset
        self.temperature = temperature
        self.beta = beta
        self.ramp_share = ramp_share
        self.detach = detach
        self.rescale = rescale
        self.branch_from = branch_from

    def build(self, networks: NetworkFactory) -> None:
        """K branches on one trunk."""
        require(not networks.peers, "cl_ilr's students are branches of one network; it takes no peers")
        self.group = Branched(networks.copy, self.count, branch_from=self.branch_from, rescale=self.rescale)
        self.candidates = self.student_names()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of trunk and branches together."""
        logits = self.group(batch.inputs)  # K x (B, C)
        phi = ramp(clock.epoch, 0, round(self.ramp_share * clock.epochs))
        yield {name: loss for k in range(self.count) for name, loss in self.student_loss(k, logits, batch.labels, phi).items()}

    def student_loss(self, k: int, logits: Sequence[Tensor], labels: Tensor, phi: float) -> Losses:
        """Student k's losses, given everybody's logits K x (B, C), the labels (B,) and the weight phi of imitation."""
        others = [z for j, z in enumerate(logits) if j != k]
        hard = cross_entropy(logits[k], labels)
        if not others:
            return {f"student{k}/cross_entropy": hard}
        target = torch.stack(others).mean(0)
        target = target.detach() if self.detach else target
        if self.preset == "paper":
            hard, soft = self.beta * hard, (1 - self.beta) * soft_cross_entropy(logits[k], target, self.temperature)
        else:
            soft = soft_kl(logits[k], target, self.temperature)
        return {f"student{k}/cross_entropy": hard, f"student{k}/imitation": phi * soft}
