"""Online role change (Choi, Cho, Jeong and Hwang, 2022: "Network Group-based Knowledge Distillation using Online Role Change").

    omega = softmax of the students' mean cross-entropies, D_i = omega_i B       how much each feeds back, Eq. 4-6
    i*    = argmin of the students' mean cross-entropies                        the temporary teacher, Eq. 7
    x~    = lambda x + (1 - lambda) x_feed,  lambda ~ Beta                      Eq. 8
    pivot    : lambda CE(T(x~), y) + (1 - lambda) CE(T(x~), y_feed)             intensive teaching, Eq. 9
    S_i*     : (1 - a) CE + a KD(T || S_i*)                                     private teaching, Eq. 10
    the rest : (1 - a) CE + a (KD(S_i* || S_i) + KD(T || S_i))                  group teaching, Eq. 11-12

with KD = tau^2 KL at temperature tau. Three updates in this order; every network moves exactly once; roles last one batch.

Departures and readings:
- Eq. 9 as printed scores unmixed inputs, against Eq. 8; the mixed input is scored, as in mix-up and in the later version of the paper.
- Of texts the embeddings are mixed (`networks/mixing.py`); the paper has images only.
- D is rounded by largest remainder, so that it sums to B; a sample may be fed back by several students (the paper's 1:N mapping).
- Teachers are asked again after they were updated; `reuse_temporary=True` keeps the temporary teacher's first answer.
- Targets: no gradient, batch statistics, and no trace in the running ones (`pivot_clean_bn=True`: the pivot's move on clean images, too).
- alpha, the Beta's parameter and the pivot's learning rate are not published; LOG.md has what was measured.
Shapes: B batch, C classes, n students.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import TrainingError
from studygroup.groups import Independent, peek
from studygroup.losses import cross_entropy, mixed_cross_entropy, per_sample_cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.maker import Maker
from studygroup.networks.mixing import mixed_logits, mixes_texts
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
        require(
            0 <= temporary_teachers <= students,
            f"temporary_teachers is {temporary_teachers}; it must lie in [0, {students}], the number of students",
        )
        require(0.0 <= alpha <= 1.0, f"alpha is {alpha}; it must lie in [0, 1]")
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        require(mixup_alpha >= 0.0, f"mixup_alpha is {mixup_alpha}; it must not be negative")
        require(
            intensive in ("feedback_mixup", "mixup", "feedback", "off"),
            f"intensive is {intensive!r}; it must be feedback_mixup, mixup, feedback or off",
        )
        require(style in ("individual", "ensemble"), f"style is {style!r}; it must be individual or ensemble")
        require(promotion in ("online", "deepest"), f"promotion is {promotion!r}; it must be online or deepest")
        if temporary_teachers == students:
            warnings.warn(f"all {students} students are temporary teachers: there is nobody left for group teaching", stacklevel=2)
        if mixup_alpha == 0.0 and intensive in ("feedback_mixup", "mixup"):
            warnings.warn(f"mixup_alpha is 0: the pivot learns from the batch alone, without {intensive}", stacklevel=2)
        self.count = students
        self.temporary_teachers = temporary_teachers
        self.alpha = alpha
        self.temperature = temperature
        self.mixup_alpha = mixup_alpha
        self.intensive: Literal["feedback_mixup", "mixup", "feedback", "off"] = intensive
        self.style = style
        self.promotion = promotion
        self.reuse_temporary = reuse_temporary
        self.recompute = recompute
        self.mixup_per_sample = mixup_per_sample
        self.pivot_clean_bn = pivot_clean_bn
        self.pivot_lr_scale = pivot_lr_scale

    def assemble(self, make: Maker) -> None:
        """All n students, and the pivot, which goes on learning."""
        self.group = Independent(make.students(self.count))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if make.is_target(k))
        self.pivot = make.trained().requires_grad_(self.intensive != "off")
        require(
            make.vocabulary is None or "mixup" not in self.intensive or mixes_texts(self.pivot),
            f"of texts orc mixes the embeddings, and of the pivot, {type(self.pivot).__name__}, it is not known where the embedding ends; "
            "take --method.intensive feedback, which mixes nothing, or a pivot from `studygroup list networks`",
        )

    def others(self) -> Mapping[str, nn.Module]:
        """The pivot."""
        return {"pivot": self.pivot}

    def learning_rate_scales(self) -> Mapping[str, float]:
        """The pivot's."""
        return {"pivot": self.pivot_lr_scale}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Intensive, private and group teaching: an update each."""
        # n x (B, C), graphs kept for both lessons below, unless they are to be computed again there
        logits: list[Tensor] = (
            [peek(self.group[k], batch.inputs) for k in range(self.count)] if self.recompute else self.group(batch.inputs)
        )

        def answer(student: int) -> Tensor:
            return self.group[student](batch.inputs) if self.recompute else logits[student]

        own_errors = torch.stack([per_sample_cross_entropy(z.detach(), batch.labels) for z in logits], 1)
        errors = batch.gathered(own_errors).T  # (n, B): roles follow the whole batch, wherever its samples are
        ranking = self.rank(errors)
        temporary, rest = ranking[: self.temporary_teachers], sorted(ranking[self.temporary_teachers :])

        if self.intensive != "off":
            yield {"pivot/intensive": self.intensive_lesson(batch, errors, clock.stream("intensive"))}
        pivot = peek(self.pivot, batch.inputs, "eval" if self.intensive == "off" else "train" if self.pivot_clean_bn else "batch_stats")
        if temporary:
            yield {name: loss for i in temporary for name, loss in self.lesson(i, "private", answer(i), batch.labels, [pivot]).items()}
        teachers = [logits[i].detach() if self.reuse_temporary else peek(self.group[i], batch.inputs) for i in temporary] if rest else []
        if rest:
            yield {name: loss for i in rest for name, loss in self.lesson(i, "group", answer(i), batch.labels, [*teachers, pivot]).items()}

    def rank(self, errors: Tensor) -> list[int]:
        """Students by mean error, best first, ties to the lower number; errors (n, B)."""
        means: list[float] = errors.mean(1).tolist()  # one look at the device, not n
        bad = [k for k in range(self.count) if not math.isfinite(means[k])]
        if bad:
            raise TrainingError(f"the cross-entropy of student{bad[0]} is {means[bad[0]]}; a lower learning rate or clipping may help")
        if self.promotion == "deepest":
            means = [-float(parameter_count(self.group[k])) for k in range(self.count)]
        return sorted(range(self.count), key=lambda k: (means[k], k))

    def intensive_lesson(self, batch: Batch, errors: Tensor, generator: torch.Generator) -> Tensor:
        """The pivot's loss on what the students get wrong (Eq. 8-9)."""
        whole = batch.whole
        if self.intensive == "mixup":
            partners = torch.randperm(len(whole), generator=generator).to(batch.labels.device)
        else:
            partners = feedback(errors, generator)
        partners = batch.mine(partners)
        inputs, labels = whole.inputs[partners], whole.labels[partners]
        if self.intensive == "feedback":
            return cross_entropy(self.pivot(inputs), labels)
        share = beta(self.mixup_alpha, generator, len(whole) if self.mixup_per_sample else 1).to(errors)
        share = batch.mine(share) if self.mixup_per_sample else share
        return mixed_cross_entropy(mixed_logits(self.pivot, batch.inputs, inputs, share), batch.labels, labels, share)

    def lesson(self, student: int, role: str, logits: Tensor, labels: Tensor, teachers: Sequence[Tensor]) -> Losses:
        """A student's losses: the labels, and each teacher (or their mean logits) (Eq. 10-12)."""
        if self.style == "ensemble":
            teachers = [torch.stack(list(teachers)).mean(0)]
        distillation = torch.stack([soft_kl(logits, teacher, self.temperature) for teacher in teachers]).sum()
        return {
            f"student{student}/cross_entropy": (1 - self.alpha) * cross_entropy(logits, labels),
            f"student{student}/{role}": self.alpha * distillation,
        }


def quotas(losses: Tensor, batch: int) -> list[int]:
    """D_i: how many of `batch` samples each student feeds back, from their mean losses (n,) (Eq. 4-6).

    The softmax's shares, rounded by largest remainder (ties to the lower number), so that they sum to `batch`.
    """
    exact = torch.softmax(losses.double(), 0) * batch
    whole = exact.floor().to(torch.int64)
    left = batch - int(whole.sum())
    # Rounded, because equal losses must give equal remainders for the tie rule to hold.
    order = torch.sort(((exact - whole) * 1e9).round(), descending=True, stable=True).indices
    whole[order[:left]] += 1
    return whole.tolist()


def feedback(errors: Tensor, generator: torch.Generator) -> Tensor:
    """Positions (B,) of the samples that the students feed back, shuffled: each its worst D_i; a sample may come several times.

    Args:
        errors: (n, B) cross-entropy of each student on each sample.
        generator: CPU generator.
    """
    chosen = [
        torch.sort(own, descending=True, stable=True).indices[:quota]
        for own, quota in zip(errors, quotas(errors.mean(1).cpu(), errors.shape[1]), strict=True)
    ]
    joined = torch.cat(chosen)
    return joined[torch.randperm(len(joined), generator=generator).to(joined.device)]


def beta(alpha: float, generator: torch.Generator, draws: int = 1) -> Tensor:
    """Draws (draws,) float64 from Beta(alpha, alpha), in [0, 1]; 1 if alpha is 0 (no mixing)."""
    if alpha == 0.0:
        return torch.ones(draws, dtype=torch.float64)
    # Two Gamma(alpha) draws each; torch.distributions takes no generator, _standard_gamma does.
    gammas = torch._standard_gamma(torch.full((2, draws), alpha, dtype=torch.float64), generator=generator)
    return gammas[0] / gammas.sum(0)
