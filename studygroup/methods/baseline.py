"""One network, trained alone on the labels.

    L = CE(z, y)

Departures: none.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy
from studygroup.methods.method import Losses, Method
from studygroup.networks.factory import NetworkFactory


@dataclass(eq=False, kw_only=True)
class Baseline(Method):
    """One network, trained alone: what every other method has to beat."""

    def build(self, networks: NetworkFactory) -> None:
        """Create the student."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        yield {"student0/cross_entropy": cross_entropy(self.group[0](batch.inputs), batch.targets)}
