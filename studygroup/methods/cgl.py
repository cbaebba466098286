"""Collaborative group learning (Feng et al., AAAI 2021).

    L   = sum over k of CE(z_k, y) + phi(t) T^2 KL(softmax(z_t / T) || softmax(z_k / T))      Eq. 3, 4, 6
    z_t = mean of the logits of the students that k imitates, on k's own samples              Eq. 5

Three mechanisms: students are random routes through one modular network (`groups/modular.py`, Eq. 1), each learns its own
share of the data, and in every iteration each imitates a random subgroup of the others (`subgroups.py`).

Departures and readings (the paper leaves these open):
- Division of the data: `division`; the text reads as "fixed". LOG.md has what was measured. `preset="paper"` is the text to the letter:
  divided once, by the expected number in Eq. 5, and without T^2.
- Mini-batch: the paper's 64 may be each student's or all students' together: `batch`.
- Eq. 5 divides by the expected number of students (`normalize="expected"`); the default divides by the number selected, and skips the
  imitation if that is 0.
- Temperature 3, and T^2, which Eq. 6 does not write (`t2_scale=False`).
- Imitated logits are targets: no gradient, batch statistics (`detach_targets`, `targets`). What an imitated route has in common with
  the student's own, on the same samples, is computed once.
- `memory` is none of the paper's: it imitates what the students predicted for a sample before (`past_logits.py`).
- Ablations (Table 4): `routing=False` (K separate networks), `division="none"`, `probability=1` (imitate all others).
Shapes: b_k samples of student k, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studygroup.batch import Batch, Division, LabelTargets, Partition
from studygroup.clock import Clock
from studygroup.losses import per_sample_cross_entropy
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses, require
from studygroup.methods.past_logits import PastLogits
from studygroup.methods.routing import RoutingOptions
from studygroup.methods.subgroups import Normalize, Select, Subgroups
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option
from studygroup.schedules import ramp

OF_TARGETS = ("probability", "select", "normalize", "targets", "detach_targets")  # options of a forward pass for targets


@dataclass(eq=False, kw_only=True)
class CGL(RoutingOptions, ComparesLogits):  # type: ignore[misc]  # `modules` is a method of nn.Module, too
    """Many students at the price of one: routes through a modular network that imitate random subgroups of each other."""

    takes_unlabelled = True

    preset: Literal["measured", "paper"] = option(
        "measured", help="Defaults of division, normalize and t2_scale: those that measured best, or the paper's text to the letter"
    )
    probability: float = option(0.25, at_least=0.0, at_most=1.0, help="Probability p of imitating another student in an iteration")
    division: Division | None = option(
        None,
        help="Train each student on its own share of the training set, drawn per epoch or once (fixed), or all on everything (none)",
        default_help="epoch; fixed with preset paper",
    )
    overlap: float = option(0.0, at_least=0.0, at_most=1.0, help="Fraction of the other students' samples that each student gets as well")
    batch: Literal["total", "per_student"] = option(
        "total", help="Samples that the batch size counts: all students' together, or each student's"
    )
    select: Select = option("bernoulli", help="Imitate each other student with probability p, or round(p K) of them")
    normalize: Normalize | None = option(
        None,
        help="Divide the sum of the imitated logits by their number, or by the expected number (Eq. 5)",
        default_help="realised; expected with preset paper",
    )
    temperature: float = option(3.0, above=0.0, help="Softmax temperature T")
    t2_scale: bool | None = option(None, help="Multiply the imitation by T^2", default_help="yes; no with preset paper")
    ramp_share: float = option(0.2, at_least=0.0, at_most=1.0, help="Fraction of the epochs over which the imitation ramps up")
    ramp_start: int = option(0, help="Number of epochs before the ramp")
    ramp_by_step: bool = option(False, help="Update the ramp every step instead of every epoch")
    detach_targets: bool = option(True, help="Stop the gradient at the imitated logits")
    memory: float | None = option(
        None,
        at_least=0.0,
        below=1.0,
        help="Imitate what students predicted for a sample before, as a moving average with this weight of the past: no pass for targets",
        default_help="imitate what the others predict now",
    )

    def __post_init__(self) -> None:
        """Fill in the preset's values, and derive the subgroups."""
        super().__post_init__()
        del self.modules  # the name of a method of nn.Module; the option's value is in `options()`
        self.check_routing()
        given = [name for name in OF_TARGETS if getattr(self, name) != getattr(type(self), name)] if self.memory is not None else []
        require(not given, f"{', '.join(given)}: with memory there is no forward pass for targets; leave them out, or memory")
        paper = self.preset == "paper"
        self._division: Division = self.division or ("fixed" if paper else "epoch")
        self._normalize: Normalize = self.normalize or ("expected" if paper else "realised")
        self._t2_scale = not paper if self.t2_scale is None else self.t2_scale
        self.subgroups = Subgroups(self.students, self.probability, self.select, self._normalize)

    def build(self, networks: NetworkFactory) -> None:
        """Create K routes through one modular network, or K networks."""
        require(not networks.peers, "cgl's students are routes through copies of one network; it takes no peers")
        self.group = self.students_group(networks, self.options())
        self.students = len(self.group)  # fewer, if there are not as many distinct routes
        self.subgroups = Subgroups(self.students, self.probability, self.select, self._normalize)
        self.candidates = self.student_names()
        if self.memory is not None:
            self.past = PastLogits(len(networks.training_labels()) + networks.unlabelled, networks.num_classes, self.memory)

    def partition(self) -> Partition:
        """Return each student's own share of the samples (sub-set data learning)."""
        return Partition(self.students, self._division, self.overlap, self.batch == "per_student")

    def ramp(self, clock: Clock) -> float:
        """Return phi, the weight of imitation (Eq. 7)."""
        now = clock.progress if self.ramp_by_step else clock.epoch
        return ramp(now, self.ramp_start, self.ramp_start + round(self.ramp_share * clock.epochs))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update all students together, once."""
        shares = batch.per_student(self.students)  # K x (inputs, labels)
        logits, teachers = self.predict(batch, [own.inputs for own in shares], clock)
        active = [k for k, own in enumerate(shares) if len(own)]  # the other students have no samples left in this epoch
        # One call for all students: eight small calls take longer than their arithmetic.
        errors = per_sample_cross_entropy(torch.cat([logits[k] for k in active]), LabelTargets.cat([shares[k].targets for k in active]))
        losses = {f"student{k}/cross_entropy": error.mean() for k, error in per_student(errors, active, logits)}
        targets = {k: target for k in active if (target := teachers[k]) is not None}
        if targets:
            students, phi = list(targets), self.ramp(clock)
            labels = [shares[k].targets for k in students]
            compared = self.compare_each([logits[k] for k in students], [*targets.values()], labels, self.temperature, scale=self._t2_scale)
            losses |= {f"student{k}/imitation": phi * loss for k, loss in zip(students, compared, strict=True)}
        yield losses

    def predict(self, batch: Batch, inputs: Sequence[Tensor], clock: Clock) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return each student's logits (b_k, C), and the logits it imitates, if any."""
        if self.memory is None:
            subgroups = self.subgroups.draw(clock.generator("subgroups"))  # K lists of students
            logits, imitated = self.group.study(inputs, subgroups, detach=self.detach_targets)
            return logits, [self.subgroups.target(own, others) for own, others in zip(logits, imitated, strict=True)]
        logits, _ = self.group.study(inputs, [[]] * self.students)
        return logits, self.past.exchange(batch, logits)


def per_student(values: Tensor, students: Sequence[int], logits: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Split concatenated values, one per sample, into those of each student, which has as many samples as logits."""
    return zip(students, values.split([len(logits[k]) for k in students]), strict=True)
