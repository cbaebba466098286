"""What a method's step yields: losses, perhaps with metrics."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

Losses = dict[str, Tensor]
"""`"member/loss"`, or `"group/loss"` for a loss of all members together -> scalar, weighted; their sum is minimised."""
Metrics = Mapping[str, Tensor | float]
"""`"member/metric"`, or another subject in place of the member -> scalar."""


class WithMetrics(Losses):
    """Losses, and metrics beside them, which teach nothing.

    A metric is averaged over the steps of an epoch as a loss is: over the samples of its member in microbatches, and over ranks. So a
    method that sees a shard of a batch yields the mean over its samples, or what it knows of the whole batch.

    Attributes:
        metrics: found in this step.
    """

    def __init__(self, losses: Losses, metrics: Metrics) -> None:
        """Args: losses: as without metrics. metrics: see above."""
        super().__init__(losses)
        self.metrics = metrics
