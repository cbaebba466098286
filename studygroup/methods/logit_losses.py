"""Base of the methods that compare logits: how they do is an option.

    kl            T^2 KL(softmax(teacher / T) || softmax(student / T)), or the form of it that the method's paper has
    standardized  the same of standardised logits (Sun et al., CVPR 2024)
    dkd           T^2 (alpha TCKD + beta NCKD), the label apart from the other classes (Zhao et al., CVPR 2022)
    dist          T^2 (beta inter + gamma intra), correlations over classes and over the samples of a batch (Huang et al., NeurIPS 2022)
    mse           squared error of centred logits, without T

T is the method's own temperature. Of mixed samples, `dkd` takes both classes with their weights, as the cross-entropy does: it is
w dkd(y) + (1 - w) dkd(y'). `dist` relates the samples of a batch, so it needs whole batches, and gathers the logits of all ranks; in a
divided batch it relates each student's own samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import LabelTargets
from studygroup.losses import decoupled_kl, dist, logit_mse, soft_kl, standardized_kl
from studygroup.methods.method import Method, require
from studygroup.parameters import option

LogitLoss = Literal["kl", "standardized", "dkd", "dist", "mse"]
OWN_OPTIONS = {"dkd_alpha": 1.0, "dkd_beta": 8.0, "dist_beta": 2.0, "dist_gamma": 2.0}


@dataclass(eq=False, kw_only=True)
class ComparesLogits(Method):
    """A method whose students imitate logits; a subclass calls `compare` in place of a divergence."""

    title = "loss between logits"

    logit_loss: LogitLoss = option("kl", help="Loss between logits: the method's own divergence (kl), or another in its place")
    dkd_alpha: float = option(OWN_OPTIONS["dkd_alpha"], at_least=0.0, help="Weight of the label's probability in dkd")
    dkd_beta: float = option(OWN_OPTIONS["dkd_beta"], at_least=0.0, help="Weight of the other classes in dkd")
    dist_beta: float = option(OWN_OPTIONS["dist_beta"], at_least=0.0, help="Weight of the correlations over classes in dist")
    dist_gamma: float = option(OWN_OPTIONS["dist_gamma"], at_least=0.0, help="Weight of the correlations over samples in dist")

    def __post_init__(self) -> None:
        """Check that the options of a loss come with it."""
        for name, default in OWN_OPTIONS.items():
            loss, value = name.partition("_")[0], getattr(self, name)
            require(
                value == default or self.logit_loss == loss,
                f"{name} is {value:g}, but logit_loss is {self.logit_loss}; give logit_loss {loss}, or leave {name} out",
            )

    @property
    def whole_batch(self) -> bool:
        """Return whether the loss relates the samples of a batch."""
        return self.logit_loss == "dist"

    def needs_all_labels(self) -> str:
        """Return that the loss sets the label apart, if it does."""
        return "logit_loss is dkd, which needs the label of every sample" if self.logit_loss == "dkd" else ""

    def compare(
        self,
        student: Tensor,
        teacher: Tensor,
        targets: LabelTargets,
        temperature: float = 1.0,
        kl: Callable[[Tensor, Tensor, float], Tensor] = soft_kl,
    ) -> Tensor:
        """Return the loss between logits (b, C).

        Args:
            student: logits; gradient flows to the teacher's, too, unless they are detached.
            teacher: logits to imitate.
            targets: of the b samples.
            temperature: T.
            kl: the method's form of the divergence.
        """
        if self.logit_loss == "kl":
            return kl(student, teacher, temperature)
        if self.logit_loss == "dist":
            return self._dist(student, teacher, targets, temperature)
        return self._per_sample(student, teacher, targets, temperature).mean()

    def compare_each(
        self, students: Sequence[Tensor], teachers: Sequence[Tensor], targets: Sequence[LabelTargets], temperature: float, *, scale: bool
    ) -> list[Tensor]:
        """Return the loss of each student between logits (b_k, C), in one call for all students where that is possible.

        Args:
            students: logits by student.
            teachers: logits to imitate.
            targets: of each student's samples.
            temperature: T.
            scale: multiply by T^2.
        """
        if self.logit_loss == "dist":
            return [self._dist(*one, temperature, scale=scale) for one in zip(students, teachers, targets, strict=True)]
        own, teacher = torch.cat(list(students)), torch.cat(list(teachers))
        if self.logit_loss == "kl":
            found = soft_kl(own, teacher, temperature, scale=scale, reduction="none")
        else:
            found = self._per_sample(own, teacher, LabelTargets.cat(targets), temperature, scale=scale)
        return [values.mean() for values in found.split([len(logits) for logits in students])]

    def _dist(self, student: Tensor, teacher: Tensor, targets: LabelTargets, temperature: float, *, scale: bool = True) -> Tensor:
        """Return the correlation loss over the samples of all ranks."""
        return dist(targets.all_gather(student), targets.all_gather(teacher), self.dist_beta, self.dist_gamma, temperature, scale=scale)

    def _per_sample(self, student: Tensor, teacher: Tensor, targets: LabelTargets, temperature: float, *, scale: bool = True) -> Tensor:
        """Return the loss (b,) of each sample."""
        if self.logit_loss == "standardized":
            return standardized_kl(student, teacher, temperature, scale=scale, reduction="none")
        if self.logit_loss == "mse":
            return logit_mse(student, teacher, reduction="none")

        def decoupled(labels: Tensor) -> Tensor:
            weights = (self.dkd_alpha, self.dkd_beta)
            return decoupled_kl(student, teacher, labels, *weights, temperature, scale=scale, reduction="none")

        found = decoupled(targets.labels)
        if targets.mix is None:
            return found
        share = targets.mix.share
        return share * found + (1 - share) * decoupled(targets.mix.labels)
