"""Equal compute: how many epochs each method gets for what the baseline's training costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def affordable(budget: float, per_epoch: float) -> int:
    """As many whole epochs as a budget pays for, and at least one; both in the same unit."""
    return max(int(budget / per_epoch * (1 + 1e-9)), 1)  # what divides evenly is not to be lost to rounding


def with_epochs(arguments: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """The words of a variant for another number of epochs: its schedule is stretched or compressed along, to whole epochs."""
    factor = epochs / arguments["epochs"]
    stops = sorted({max(round(stop * factor), 1) for stop in arguments["milestones"]})
    return {**arguments, "epochs": epochs, "milestones": stops, "warmup": arguments["warmup"] * factor}
