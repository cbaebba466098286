"""Online role change (Choi, Cho, Jeong and Hwang, 2022: "Network Group-based Knowledge Distillation using Online Role Change").

    i*       = argmin of the students' mean cross-entropies                     the temporary teacher, Eq. 7
    pivot    : CE on the batch mixed with what the students get wrong           intensive teaching, Eq. 4-9 (`intensive.py`)
    S_i*     : (1 - a) CE + a KD(T || S_i*)                                     private teaching, Eq. 10
    the rest : (1 - a) CE + a (KD(S_i* || S_i) + KD(T || S_i))                  group teaching, Eq. 11-12

with KD = tau^2 KL at temperature tau. Three updates in this order; every network is updated exactly once; roles last one batch.

Departures and readings:
- Teachers predict again after their update; `reuse_temporary=True` keeps the temporary teacher's first logits.
- Targets: no gradient, batch statistics, running statistics unchanged (`pivot_clean_bn=True`: the pivot's follow clean images, too).
- alpha, the Beta's parameter and the pivot's learning rate are not published; LOG.md has what was measured.
Shapes: B batch, C classes, n students.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch, LabelTargets
from studygroup.clock import Clock
from studygroup.groups import Independent, predict_targets
from studygroup.groups.target import TargetMode
from studygroup.losses import cross_entropy
from studygroup.methods.intensive import Feed, IntensiveKind, IntensiveTeaching
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, WithMetrics, require
from studygroup.methods.roles import assign_roles, role_metrics
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.registry import parameter_count
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class ORC(ComparesLogits):
    """A trained pivot and the batch's best student teach the rest; the pivot learns from the samples that the students get wrong."""

    whole_batch = True
    needs_teacher = True
    teacher_name = "pivot"

    preset: Literal["measured", "paper"] = option(
        "measured", help="Defaults of alpha and pivot_lr_scale: those that measured best, or even weights and one learning rate for all"
    )
    students: int = option(3, at_least=1, at_most=1000, help="Number of students n, without the pivot")
    temporary_teachers: int = option(1, at_least=0, help="Number of students k promoted per batch, at most n (Table 1)")
    alpha: float | None = option(
        None,
        at_least=0.0,
        at_most=1.0,
        help="Weight a of the teachers; the cross-entropy has 1 - a",
        default_help="0.3; 0.5 with preset paper",
    )
    temperature: float = option(4.0, above=0.0, help="Softmax temperature tau")
    mixup_alpha: float = option(1.0, at_least=0.0, help="Parameter of the Beta distribution; 0 turns mixing off")
    intensive: IntensiveKind = option(
        "feedback_mixup", help="Samples that train the pivot: batch mixed with feedback, batch mixed with itself, feedback, none (Table 2)"
    )
    style: Literal["individual", "ensemble"] = option("individual", help="Distil from each teacher, or from their mean logits (Table 3)")
    promotion: Literal["online", "deepest"] = option(
        "online", help="Promote the best students of the batch, or always those with the most parameters (no role change)"
    )
    reuse_temporary: bool = option(False, help="Reuse the temporary teachers' logits from before private teaching")
    recompute: bool = option(
        False, help="Rank without gradient and recompute when taught: n more forward passes, one graph in memory, not n"
    )
    mixup_per_sample: bool = option(False, help="Draw lambda per sample instead of per batch")
    pivot_clean_bn: bool = option(False, help="Let the pivot's running statistics follow the clean images, too")
    pivot_lr_scale: float | None = option(None, help="Factor on the pivot's learning rate", default_help="0.1; 1 with preset paper")

    def __post_init__(self) -> None:
        """Fill in the preset's values, and check the number of temporary teachers."""
        super().__post_init__()
        paper = self.preset == "paper"
        self._alpha = (0.5 if paper else 0.3) if self.alpha is None else self.alpha
        self._pivot_lr_scale = (1.0 if paper else 0.1) if self.pivot_lr_scale is None else self.pivot_lr_scale
        require(
            self.temporary_teachers <= self.students,
            f"temporary_teachers is {self.temporary_teachers}; it must be at most {self.students}, the students",
        )
        if self.temporary_teachers == self.students:
            warnings.warn(f"all {self.students} students are temporary teachers: no student is left for group teaching", stacklevel=3)
        self.intensive_teaching = IntensiveTeaching(self.intensive, self.mixup_alpha, per_sample=self.mixup_per_sample)

    def build(self, networks: NetworkFactory) -> None:
        """Create n students; the pivot is a trained network that continues to learn."""
        self.group = Independent(networks.students(self.students))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        self.pivot = networks.trained().requires_grad_(self.intensive != "off")
        self.intensive_teaching.check(self.pivot, networks)

    def extra_members(self) -> Mapping[str, nn.Module]:
        """Return the pivot."""
        return {"pivot": self.pivot}

    def learning_rate_scales(self) -> Mapping[str, float]:
        """Return the pivot's factor."""
        return {"pivot": self._pivot_lr_scale}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Run intensive, private and group teaching: one update each; the first is yielded with the roles."""
        if self.recompute:
            logits = [predict_targets(self.group[k], batch.inputs) for k in range(self.students)]
        else:
            logits = self.group(batch.inputs)  # n x (B, C), graphs kept for private and group teaching
        sizes = [parameter_count(self.group[k]) for k in range(self.students)] if self.promotion == "deepest" else None
        temporary, rest, errors = assign_roles(logits, batch, self.temporary_teachers, sizes)
        feed = None if self.intensive == "off" else self.intensive_teaching.draw(batch, errors, clock.generator("intensive"))
        teaching = self.teach(batch, logits, temporary, rest, feed)
        fed_back = feed.positions if feed is not None and self.intensive != "mixup" else None
        yield WithMetrics(next(teaching), role_metrics(temporary, errors, fed_back))
        yield from teaching

    def teach(
        self, batch: Batch, logits: Sequence[Tensor], temporary: Sequence[int], rest: Sequence[int], feed: Feed | None
    ) -> Iterator[Losses]:
        """Yield the losses of each teaching, given the roles and what the pivot is fed."""

        def losses(role: str, students: Sequence[int], teachers: Sequence[Tensor]) -> Losses:
            own = {k: self.group[k](batch.inputs) if self.recompute else logits[k] for k in students}
            return {name: loss for k in students for name, loss in self.student_loss(k, role, own[k], batch.targets, teachers).items()}

        if feed is not None:
            yield {"pivot/intensive": self.intensive_teaching.loss(self.pivot, batch, feed)}
        mode: TargetMode = "eval" if feed is None else "train" if self.pivot_clean_bn else "batch_stats"
        pivot = predict_targets(self.pivot, batch.inputs, mode)
        if temporary:
            yield losses("private", temporary, [pivot])
        if rest:
            updated = [logits[k].detach() if self.reuse_temporary else predict_targets(self.group[k], batch.inputs) for k in temporary]
            yield losses("group", rest, [*updated, pivot])

    def student_loss(self, student: int, role: str, logits: Tensor, targets: LabelTargets, teachers: Sequence[Tensor]) -> Losses:
        """Return a student's losses: the labels, and each teacher or their mean logits (Eq. 10-12)."""
        if self.style == "ensemble":
            teachers = [torch.stack(list(teachers)).mean(0)]
        distillation = torch.stack([self.compare(logits, teacher, targets, self.temperature) for teacher in teachers]).sum()
        return {
            f"student{student}/cross_entropy": (1 - self._alpha) * cross_entropy(logits, targets),
            f"student{student}/{role}": self._alpha * distillation,
        }
