"""The losses of an epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from studygroup.clock import Clock
from studygroup.distributed.context import DistContext
from studygroup.errors import TrainingError
from studygroup.methods.method import Losses


class LossMeter:
    """Running means of an epoch's losses by name, kept on the device: reading them at every step would synchronise with it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}

    def add(self, losses: Losses, weight: Callable[[str], float]) -> None:
        """Add the losses of one update; `weight(name)` is the fraction of the batch that a loss covers."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.detach().float() * weight(name)
            self.counts[name] = self.counts.get(name, 0.0) + weight(name)

    def means(self) -> dict[str, float]:
        """Return the mean of each loss over the updates that had it."""
        return {name: float(total) / self.counts[name] for name, total in sorted(self.sums.items())}

    def check(self, clock: Clock) -> None:
        """Raise TrainingError if a loss was not finite."""
        bad = [name for name, total in self.sums.items() if not torch.isfinite(total)]
        if bad:
            member, _, loss = bad[0].partition("/")
            more = f" (and {', '.join(bad[1:4])})" if bad[1:] else ""
            value = "nan" if torch.isnan(self.sums[bad[0]]) else "infinite"
            raise TrainingError(
                f"the {loss} loss of {member} is {value} in epoch {clock.epoch + 1}, step {clock.step + 1}{more}; "
                "the last good checkpoint is kept; try a lower learning rate or --clip-grad-norm 5 in a new run"
            )

    def merged(self, ranks: DistContext) -> LossMeter:
        """Return the sums over all ranks; losses of members that every rank computes are counted once."""
        if not ranks.is_distributed or ranks.shard == "members":
            return self
        whole = LossMeter()
        for sums, counts in ranks.all_gather_object(({name: float(total) for name, total in self.sums.items()}, self.counts)):
            for name, total in sums.items():
                whole.sums[name] = whole.sums.get(name, torch.zeros((), dtype=torch.float64)) + total
                whole.counts[name] = whole.counts.get(name, 0.0) + counts[name]
        return whole

    def state(self) -> dict[str, dict[str, Tensor | float]]:
        """Return the state for a checkpoint."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load(self, state: dict[str, dict[str, Tensor]], device: torch.device) -> None:
        """Load the state of a checkpoint."""
        self.sums = {name: total.to(device) for name, total in state["sums"].items()}
        self.counts = {name: float(count) for name, count in state["counts"].items()}
