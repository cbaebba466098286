"""Collaborative group learning (Feng et al., AAAI 2021).

    L   = sum over k of CE(z_k, y) + phi(t) T^2 KL(softmax(z_t / T) || softmax(z_k / T))      Eq. 3, 4, 6
    z_t = mean of the logits of the students that k imitates, on k's own samples              Eq. 5

Three mechanisms: students are random routes through one modular network (`groups/modular.py`, Eq. 1), each learns its own
share of the data, and in every iteration each imitates a random subgroup of the others (`subgroups.py`).

Departures and readings (the paper leaves these open):
- Division of the data: see `division`; the text reads as "fixed". LOG.md has what was measured.
- Mini-batch: the paper's 64 may be each student's or all students' together, see `batch`.
- Eq. 5 divides by the expected number of students (`normalize="expected"`); the default divides by the number selected, and skips the
  imitation if that is 0.
- Temperature 3, and T^2, which Eq. 6 does not write (`t2_scale=False`).
- Imitated logits are targets: no gradient, batch statistics (`detach_targets`, `targets`). What an imitated route has in common with
  the student's own, on the same samples, is computed once.
- Ablations (Table 4): `routing=False` (K separate networks), `division="none"`, `probability=1` (imitate all others).
Shapes: b_k samples of student k, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.groups import Independent, Modular
from studygroup.losses import per_sample_cross_entropy, soft_kl
from studygroup.methods.method import Losses, Method, require
from studygroup.methods.subgroups import Subgroups
from studygroup.networks.factory import NetworkFactory
from studygroup.schedules import ramp

OF_ROUTES = ("modules", "distinct", "require_coverage", "route_stem", "head", "block_groups", "bn", "targets")  # options of `Modular`


class CGL(Method):
    """Many students at the price of one: routes through a modular network that learn and imitate in random subgroups."""

    def __init__(
        self,
        students: int = 8,
        *,
        modules: int = 2,
        probability: float = 0.25,
        division: Literal["none", "fixed", "epoch"] = "epoch",
        overlap: float = 0.0,
        batch: Literal["total", "per_student"] = "total",
        select: Literal["bernoulli", "fixed"] = "bernoulli",
        normalize: Literal["realised", "expected"] = "realised",
        temperature: float = 3.0,
        t2_scale: bool = True,
        ramp_share: float = 0.2,
        ramp_start: int = 0,
        ramp_by_step: bool = False,
        detach_targets: bool = True,
        targets: Literal["batch_stats", "recall", "eval", "train"] = "batch_stats",
        routing: bool = True,
        distinct: bool = True,
        require_coverage: bool = False,
        route_stem: bool = True,
        head: Literal["shared", "routed", "per_student"] = "shared",
        block_groups: Sequence[int] | None = None,
        bn: Literal["pooled", "per_student"] = "pooled",
        ilr_rescale: bool = False,
    ) -> None:
        """Set the options.

        Args:
            students: K >= 1.
            modules: M >= 1, modules per layer.
            probability: p in [0, 1], of imitating another student in an iteration.
            division: `"epoch"`: the training set is divided into K shares anew at every epoch; `"fixed"`: once; `"none"`: everybody
                learns from everything.
            overlap: share in [0, 1] of the others' samples that each student is dealt as well.
            batch: whether the batch size is that of all students together, or of each.
            select: how the imitated students are drawn.
            normalize: what the sum of their logits is divided by.
            temperature: T > 0.
            t2_scale: whether the imitation has the factor T^2.
            ramp_share: share in [0, 1] of the epochs over which the weight of imitation rises (Eq. 7, Table 5).
            ramp_start: first epoch of that rise.
            ramp_by_step: whether the weight rises with every step instead of every epoch.
            detach_targets: whether imitated logits are targets only.
            targets: how batch norm and dropout behave while targets are made; `"recall"` is faster (`Modular`).
            routing: False: K separate networks.
            distinct: no two students have the same route.
            require_coverage: draw routes until every module is on one.
            route_stem: whether the stem has M modules, too, or is shared.
            head: one head for all, M that are routed like a layer, or one per student.
            block_groups: how many consecutive blocks make a layer; one each by default.
            bn: whether batch norm pools the samples that go through a module, or keeps students apart (`Modular`).
            ilr_rescale: divide each module's gradient by the number of students on it.
        """
        super().__init__()
        require(temperature > 0.0, f"temperature is {temperature}; it must be positive")
        require(0.0 <= ramp_share <= 1.0, f"ramp_share is {ramp_share}; it must lie in [0, 1]")
        require(routing or targets != "recall", "targets is 'recall', which is of routes; take batch_stats, or routing=True")
        self.count = students
        self.subgroups = Subgroups(students, probability, select, normalize)
        self.division = Partition(students, division, overlap, batch == "per_student")
        self.temperature = temperature
        self.t2_scale = t2_scale
        self.ramp_share = ramp_share
        self.ramp_start = ramp_start
        self.ramp_by_step = ramp_by_step
        self.detach_targets = detach_targets
        self.targets: Literal["batch_stats", "recall", "eval", "train"] = targets
        self.routing = routing
        self.ilr_rescale = ilr_rescale

    def build(self, networks: NetworkFactory) -> None:
        """K routes, or K networks."""
        require(not networks.peers, "cgl's students are routes through copies of one network; it takes no peers")
        if self.routing:
            group = Modular(networks.copy, self.count, seed=networks.seed, **{name: self.options()[name] for name in OF_ROUTES})
            if self.ilr_rescale:
                group.rescale_gradients()
            self.group = group
        else:
            assert self.targets != "recall"
            self.group = Independent(networks.students(self.count), targets=self.targets)
        self.candidates = self.student_names()

    def partition(self) -> Partition:
        """Sub-set data learning: each student its own share."""
        return self.division

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of all students together."""
        shares = batch.per_student(self.count)
        moment = clock.progress if self.ramp_by_step else clock.epoch
        phi = ramp(moment, self.ramp_start, self.ramp_start + round(self.ramp_share * clock.epochs))
        subgroups = self.subgroups.draw(clock.generator("subgroups"))
        own, imitated = self.group.study([share.inputs for share in shares], subgroups, detach=self.detach_targets)
        present = [k for k, share in enumerate(shares) if len(share)]  # the others' shares of this epoch are used up
        errors = per_sample_cross_entropy(torch.cat([own[k] for k in present]), torch.cat([shares[k].labels for k in present]))
        parts = zip(present, errors.split([len(own[k]) for k in present]), strict=True)
        losses = {f"student{k}/cross_entropy": part.mean() for k, part in parts}
        targets = {k: target for k in present if (target := self.subgroups.target(own[k], imitated[k])) is not None}
        if targets:  # all students' in one call: eight small ones take longer than their arithmetic
            taught, target = torch.cat([own[k] for k in targets]), torch.cat(list(targets.values()))
            gaps = soft_kl(taught, target, self.temperature, scale=self.t2_scale, reduction="none")
            parts = zip(targets, gaps.split([len(own[k]) for k in targets]), strict=True)
            losses |= {f"student{k}/imitation": phi * part.mean() for k, part in parts}
        yield losses
