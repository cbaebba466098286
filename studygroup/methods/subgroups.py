"""Random subgroups of students to imitate in an iteration of CGL (Feng et al., AAAI 2021).

    z_t = mean of the logits of the students that k imitates, on k's own samples              Eq. 5

Each other student is imitated with probability p, or `round(p K)` of them are. Eq. 5 divides their sum by the expected number,
H = p (K - 1) for the former; an empty subgroup then gives a uniform target.
Shapes: b_k samples of student k, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Select = Literal["bernoulli", "fixed"]
Normalize = Literal["realised", "expected"]


class Subgroups:
    """Samples each student's peers to imitate, and averages their logits into its target."""

    def __init__(self, students: int, probability: float, select: Select, normalize: Normalize) -> None:
        """Args: students, probability, select, normalize: options of `CGL`."""
        self.students = students
        self.probability = probability
        self.select = select
        self.normalize = normalize

    def draw(self, generator: torch.Generator) -> list[list[int]]:
        """Sample the students that each student imitates in this iteration, never itself: K lists."""
        peers = [[j for j in range(self.students) if j != k] for k in range(self.students)]
        if self.probability == 0.0:
            return [[] for _ in peers]
        if self.select == "fixed":
            return [
                [own[i] for i in torch.randperm(len(own), generator=generator)[: self.fixed_size()].sort().values.tolist()] for own in peers
            ]
        chosen = torch.rand(self.students, self.students, generator=generator) < self.probability
        return [[j for j in own if chosen[k, j]] for k, own in enumerate(peers)]

    def fixed_size(self) -> int:
        """Return how many students each imitates if `select` is `"fixed"`."""
        return min(self.students - 1, max(1, round(self.probability * self.students))) if self.probability > 0 else 0

    def target(self, own: Tensor, imitated: Sequence[Tensor]) -> Tensor | None:
        """Return z_t (b_k, C), the target of a student with logits `own`, from the imitated logits (Eq. 5); None without any."""
        expected = self.fixed_size() if self.select == "fixed" else self.probability * (self.students - 1)
        if self.normalize == "expected" and expected > 0:
            return torch.stack(list(imitated)).sum(0) / expected if imitated else torch.zeros_like(own)
        return torch.stack(list(imitated)).mean(0) if imitated else None
