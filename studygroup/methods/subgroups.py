"""Random subgroups of students to imitate: who learns from whom in an iteration of CGL (Feng et al., AAAI 2021).

    z_t = mean of the logits of the students that k imitates, on k's own samples              Eq. 5

Each other student is imitated with probability p, or `round(p K)` of them are. Eq. 5 divides their sum by the expected number,
H = p (K - 1) for the former; nobody selected is then a uniform target.
Shapes: b_k samples of student k, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from studygroup.methods.method import require


class Subgroups:
    """Draws whom every student imitates, and joins what these say to its target."""

    def __init__(
        self, students: int, probability: float, select: Literal["bernoulli", "fixed"], normalize: Literal["realised", "expected"]
    ) -> None:
        """Args: students, probability, select, normalize: of `CGL`."""
        require(0.0 <= probability <= 1.0, f"probability is {probability}; it must lie in [0, 1]")
        self.students = students
        self.probability = probability
        self.select = select
        self.normalize = normalize

    def draw(self, generator: torch.Generator) -> list[list[int]]:
        """The students that each student imitates in this iteration, never itself: K lists."""
        others = [[j for j in range(self.students) if j != k] for k in range(self.students)]
        if self.probability == 0.0:
            return [[] for _ in others]
        if self.select == "fixed":
            return [
                [peers[i] for i in torch.randperm(len(peers), generator=generator)[: self.fixed_size()].sort().values.tolist()]
                for peers in others
            ]
        chosen = torch.rand(self.students, self.students, generator=generator) < self.probability
        return [[j for j in peers if chosen[k, j]] for k, peers in enumerate(others)]

    def fixed_size(self) -> int:
        """How many students each imitates if `select` is `"fixed"`."""
        return min(self.students - 1, max(1, round(self.probability * self.students))) if self.probability > 0 else 0

    def target(self, own: Tensor, imitated: Sequence[Tensor]) -> Tensor | None:
        """z_t (b_k, C) from the imitated logits (Eq. 5), for a student with the logits `own`; None if there is nobody to imitate."""
        expected = self.fixed_size() if self.select == "fixed" else self.probability * (self.students - 1)
        if self.normalize == "expected" and expected > 0:
            return torch.stack(list(imitated)).sum(0) / expected if imitated else torch.zeros_like(own)
        return torch.stack(list(imitated)).mean(0) if imitated else None
