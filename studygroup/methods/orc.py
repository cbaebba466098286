"""Online role change (Choi, Cho, Jeong and Hwang, 2022: "Network Group-based Knowledge Distillation using Online Role Change").

    i*       = argmin of the students' mean cross-entropies                     the temporary teacher, Eq. 7
    pivot    : CE on the batch mixed with what the students get wrong           intensive teaching, Eq. 4-9 (`intensive.py`)
    S_i*     : (1 - a) CE + a KD(T || S_i*)                                     private teaching, Eq. 10
    the rest : (1 - a) CE + a (KD(S_i* || S_i) + KD(T || S_i))                  group teaching, Eq. 11-12

with KD = tau^2 KL at temperature tau. Three updates in this order; every network moves exactly once; roles last one batch.

Departures and readings:
- Teachers are asked again after they were updated; `reuse_temporary=True` keeps the temporary teacher's first answer.
- Targets: no gradient, batch statistics, and no trace in the running ones (`pivot_clean_bn=True`: the pivot's move on clean images, too).
- alpha, the Beta's parameter and the pivot's learning rate are not published; LOG.md has what was measured.
Shapes: B batch, C classes, n students.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Independent, predict_targets
from studygroup.losses import cross_entropy, per_sample_cross_entropy, soft_kl
from studygroup.methods.intensive import Intensive
from studygroup.methods.method import Losses, Method, require
from studygroup.methods.roles import best_first
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.registry import parameter_count


class ORC(Method):
    """A trained pivot and the batch's best student teach the rest; the pivot learns from what the students get wrong."""

    whole_batch = True
    needs_teacher = True

    def __init__(
        self,
        students: int = 3,
        *,
        temporary_teachers: int = 1,
        alpha: float = 0.3,
        temperature: float = 4.0,
        mixup_alpha: float = 1.0,
        intensive: Literal["feedback_mixup", "mixup", "feedback", "off"] = "feedback_mixup",
        style: Literal["individual", "ensemble"] = "individual",
        promotion: Literal["online", "deepest"] = "online",
        reuse_temporary: bool = False,
        recompute: bool = False,
        mixup_per_sample: bool = False,
        pivot_clean_bn: bool = False,
        pivot_lr_scale: float = 0.1,
    ) -> None:
        """Set the options.

        Args:
            students: n >= 1, without the pivot.
            temporary_teachers: k in [0, n], students promoted in each iteration (Table 1).
            alpha: weight in [0, 1] of the teachers; the labels have the rest.
            temperature: tau > 0.
            mixup_alpha: parameter of the Beta distribution; 0 mixes nothing.
            intensive: what the pivot learns from (Table 2): the batch mixed with the feedback, the batch mixed with itself, the
                feedback alone, or nothing (`"off"`: it is frozen).
            style: whether students learn from each teacher, or from their averaged logits (Table 3).
            promotion: who is promoted: the batch's best students, or always those with the most parameters (no role change).
            reuse_temporary: do not ask the temporary teacher again after private teaching.
            recompute: rank the students without gradient and run each again when it is taught: n more forward passes, one graph
                in memory instead of n.
            mixup_per_sample: draw lambda for each sample instead of once for the batch.
            pivot_clean_bn: whether the pivot's running statistics also follow the clean images.
            pivot_lr_scale: factor on the pivot's learning rate.
        """
        super().__init__()
        require(students >= 1, f"students is {students}; at least 1 is needed")
        require(0 <= temporary_teachers <= students, f"temporary_teachers is {temporary_teachers}; it must be 0 to {students} students")
        require(0.0 <= alpha <= 1.0, f"alpha is {alpha}; it must lie in [0, 1]")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        if temporary_teachers == students:
            warnings.warn(f"all {students} students are temporary teachers: there is nobody left for group teaching", stacklevel=2)
        self.count = students
        self.temporary_teachers = temporary_teachers
        self.alpha = alpha
        self.temperature = temperature
        self.intensive = Intensive(intensive, mixup_alpha, per_sample=mixup_per_sample)
        self.style = style
        self.promotion = promotion
        self.reuse_temporary = reuse_temporary
        self.recompute = recompute
        self.pivot_clean_bn = pivot_clean_bn
        self.pivot_lr_scale = pivot_lr_scale

    def build(self, networks: NetworkFactory) -> None:
        """All n students, and the pivot, which goes on learning."""
        self.group = Independent(networks.students(self.count))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        self.pivot = networks.trained().requires_grad_(self.intensive.kind != "off")
        self.intensive.check(self.pivot, networks)

    def extra_members(self) -> Mapping[str, nn.Module]:
        """The pivot."""
        return {"pivot": self.pivot}

    def learning_rate_scales(self) -> Mapping[str, float]:
        """The pivot's."""
        return {"pivot": self.pivot_lr_scale}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Intensive, private and group teaching: an update each."""
        # n x (B, C), graphs kept for both lessons below, unless they are to be computed again there
        logits: list[Tensor] = (
            [predict_targets(self.group[k], batch.inputs) for k in range(self.count)] if self.recompute else self.group(batch.inputs)
        )

        def answer(student: int) -> Tensor:
            return self.group[student](batch.inputs) if self.recompute else logits[student]

        own_errors = torch.stack([per_sample_cross_entropy(z.detach(), batch.labels) for z in logits], 1)
        errors = batch.all_gather(own_errors).T  # (n, B): roles follow the whole batch, wherever its samples are
        sizes = [parameter_count(self.group[k]) for k in range(self.count)] if self.promotion == "deepest" else None
        ranking = best_first(errors, sizes)
        temporary, rest = ranking[: self.temporary_teachers], sorted(ranking[self.temporary_teachers :])

        frozen = self.intensive.kind == "off"
        if not frozen:
            yield {"pivot/intensive": self.intensive.loss(self.pivot, batch, errors, clock.generator("intensive"))}
        pivot = predict_targets(self.pivot, batch.inputs, "eval" if frozen else "train" if self.pivot_clean_bn else "batch_stats")
        if temporary:
            yield {
                name: loss for i in temporary for name, loss in self.student_loss(i, "private", answer(i), batch.labels, [pivot]).items()
            }
        teachers = (
            [logits[i].detach() if self.reuse_temporary else predict_targets(self.group[i], batch.inputs) for i in temporary]
            if rest
            else []
        )
        if rest:
            yield {
                name: loss
                for i in rest
                for name, loss in self.student_loss(i, "group", answer(i), batch.labels, [*teachers, pivot]).items()
            }

    def student_loss(self, student: int, role: str, logits: Tensor, labels: Tensor, teachers: Sequence[Tensor]) -> Losses:
        """A student's losses: the labels, and each teacher (or their mean logits) (Eq. 10-12)."""
        if self.style == "ensemble":
            teachers = [torch.stack(list(teachers)).mean(0)]
        distillation = torch.stack([soft_kl(logits, teacher, self.temperature) for teacher in teachers]).sum()
        return {
            f"student{student}/cross_entropy": (1 - self.alpha) * cross_entropy(logits, labels),
            f"student{student}/{role}": self.alpha * distillation,
        }
