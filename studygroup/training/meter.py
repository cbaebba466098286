"""The losses and metrics of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from studygroup.clock import Clock
from studygroup.distributed.context import DistContext
from studygroup.errors import TrainingError
from studygroup.methods.method import Losses, WithMetrics

Value = Tensor | float
Weight = Callable[[str], float]


class RunningMeans:
    """Running means by name. Tensors are kept on the device: reading them at every step would synchronise with it."""

    def __init__(self) -> None:
        self.sums: dict[str, Value] = {}
        self.counts: dict[str, float] = {}

    def add(self, values: Mapping[str, Value], weight: Weight) -> None:
        """Add the values of one update; `weight(name)` is the fraction of the batch that a value covers."""
        for name, value in values.items():
            number = value.detach().float() if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + number * weight(name)
            self.counts[name] = self.counts.get(name, 0.0) + weight(name)

    def means(self) -> dict[str, float]:
        """Return the mean of each value over the updates that had it."""
        return {name: float(total) / self.counts[name] for name, total in sorted(self.sums.items())}

    def merged(self, ranks: DistContext) -> RunningMeans:
        """Return the sums over all ranks."""
        whole = RunningMeans()
        for sums, counts in ranks.all_gather_object(({name: float(total) for name, total in self.sums.items()}, self.counts)):
            for name, total in sums.items():
                whole.sums[name] = whole.sums.get(name, 0.0) + total
                whole.counts[name] = whole.counts.get(name, 0.0) + counts[name]
        return whole

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the state for a checkpoint."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load(self, state: Mapping[str, Mapping[str, Any]], device: torch.device) -> None:
        """Load the state of a checkpoint."""
        self.sums = {name: total.to(device) if isinstance(total, Tensor) else float(total) for name, total in state["sums"].items()}
        self.counts = {name: float(count) for name, count in state["counts"].items()}


class LossMeter:
    """Running means of an epoch's losses and metrics.

    Attributes:
        losses, metrics: by name, as the method's step yields them.
    """

    def __init__(self) -> None:
        self.losses = RunningMeans()
        self.metrics = RunningMeans()

    def add(self, losses: Losses, weight: Weight) -> None:
        """Add what one update yielded; `weight(name)` is the fraction of the batch that a loss or a metric covers."""
        self.losses.add(losses, weight)
        if isinstance(losses, WithMetrics):
            self.metrics.add(losses.metrics, weight)

    def check(self, clock: Clock) -> None:
        """Raise TrainingError if a loss was not finite."""
        sums = {name: torch.as_tensor(total) for name, total in self.losses.sums.items()}
        bad = [name for name, total in sums.items() if not torch.isfinite(total)]
        if bad:
            member, _, loss = bad[0].partition("/")
            more = f" (and {', '.join(bad[1:4])})" if bad[1:] else ""
            value = "nan" if torch.isnan(sums[bad[0]]) else "infinite"
            raise TrainingError(
                f"the {loss} loss of {member} is {value} in epoch {clock.epoch + 1}, step {clock.step + 1}{more}; "
                "the last good checkpoint is kept; try a lower learning rate or --clip-grad-norm 5 in a new run"
            )

    def merged(self, ranks: DistContext) -> LossMeter:
        """Return the sums over all ranks; what every rank computes of all members is counted once."""
        if not ranks.is_distributed or ranks.shard == "members":
            return self
        whole = LossMeter()
        whole.losses, whole.metrics = self.losses.merged(ranks), self.metrics.merged(ranks)
        return whole

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the state for a checkpoint."""
        return self.losses.state() | {"metrics": self.metrics.state()}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Load the state of a checkpoint; those of earlier versions have no metrics."""
        self.losses.load(state, device)
        self.metrics.load(state.get("metrics", RunningMeans().state()), device)
