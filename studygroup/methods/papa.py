"""Population parameter averaging, PAPA (Jolicoeur-Martineau et al., TMLR 2024, arXiv:2304.03094).

    L = sum over k of CE(z_k, y);   after every N-th step, w_k <- a w_k + (1 - a) mean over j of w_j,   N = 10, a = .99

K networks of different initialisations, each with an augmentation of its own. Running statistics of batch norm are pulled like weights.
The average of all networks at the end is deployed (`--hand-over soup`).

Departures:
- From the authors' code and the paper's abstract; the rest of the paper was not read. That code pulls after the first step of an epoch and
  every N-th from there; here steps are counted over the whole run.
- There, networks also differ in the order of the samples, and in mixup and label smoothing, drawn for each. Here all see the same batches.
- The average's batch-norm statistics are estimated anew. That code averages them, too (its REPAIR is for networks that were not pulled).
- PAPA-all and PAPA-2, which replace networks by averages every few epochs, are not here; `interval` and `pull=1` come near the former.
Shapes: B batch, C classes, K students.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.groups import Independent, pull_together
from studygroup.losses import cross_entropy
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class PAPA(Method):
    """Networks that learn from the labels, each slowly pulled to the average of all, which is deployed."""

    hands_over = "soup"

    students: int = option(5, at_least=1, at_most=1000, help="Number of students K")
    interval: int = option(10, at_least=1, help="Number of steps N between two pulls")
    pull: float = option(0.01, at_least=0.0, at_most=1.0, help="Share 1 - a of the way to the average in a pull")
    views: bool = option(True, help="Give every student its own augmentation of the images")

    def build(self, networks: NetworkFactory) -> None:
        """Create K networks of one architecture."""
        require(not networks.peers, "papa averages networks, which must be of one architecture; it takes no peers")
        self.group: Independent = Independent(networks.students(self.students))
        self.candidates = self.student_names()
        self.views = self.views and networks.vocabulary is None

    def partition(self) -> Partition:
        """Return one view per network."""
        return Partition(views=self.students if self.views else 1)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update all networks once; their losses have no graph in common."""
        logits, _ = self.group.study([batch.view(k) for k in range(self.students)], [[]] * self.students)  # K x (B, C)
        yield {f"student{k}/cross_entropy": cross_entropy(z, batch.targets) for k, z in enumerate(logits)}

    def after_step(self, clock: Clock) -> None:
        """Pull the networks together after every N-th step of the run."""
        if (clock.epoch * clock.steps + clock.step + 1) % self.interval == 0:
            self.group.sync_students()  # from other ranks
            pull_together(list(self.group.networks), self.pull)
