"""The progress of a training: what it is, and what of a checkpoint fits it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from studygroup.errors import UserError
from studygroup.runs.records import COUNT, EPOCH, NUMBER, OBJECT, Entries, Entry, object_of, problem
from studygroup.training.meter import LossMeter

SAVED: Entries = {
    "ema": Entry("an object or nothing", lambda value: value is None or isinstance(value, dict)),
    "seconds": NUMBER,
    "samples": COUNT,
    "bytes_sent": NUMBER,
    "losses": object_of({"sums": OBJECT, "counts": OBJECT}),
    "threads": Entry("a whole number from 1", lambda value: COUNT.holds(value) and value > 0),
}
"""Entries of what a trainer saves, beside those of every version (`checkpoint.STATE`)."""
RECORD: Entries = {name: replace(EPOCH[name], required=True) for name in ("epoch", "seconds", "losses", "holdout")}
"""Entries of an epoch of the history that results are made from."""
OPTIMIZER_STATE = ({"momentum_buffer"}, {"step", "exp_avg", "exp_avg_sq"})
"""What SGD, and what Adam and AdamW, remember of a parameter."""


@dataclass
class BestCheckpoint:
    """The member and epoch, from 1, with the highest hold-out accuracy so far; `weights` is the state dict of its plain network."""

    member: str
    epoch: int
    accuracy: float | None
    cross_entropy: float | None
    weights: dict[str, Tensor]

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key: lower is better."""
        return -(self.accuracy or 0.0), self.cross_entropy or 0.0


@dataclass
class TrainState:
    """Progress of a training: `epoch` epochs and `step` steps of the next one are done; the rest is of that next epoch."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    bytes_sent: float = 0.0
    meter: LossMeter = field(default_factory=LossMeter)
    best: BestCheckpoint | None = None


def check_saved(saved: Mapping[str, Any], *, epochs: int, steps: int) -> tuple[list[dict[str, Any]], BestCheckpoint | None]:
    """Check what a checkpoint says about the progress of a training.

    Args:
        saved: content of the checkpoint.
        epochs: of the training.
        steps: of an epoch.

    Returns:
        The records of its epochs, and the best member so far.

    Raises:
        ValueError: it is not of such a training.
        TypeError: likewise.
    """
    if (wrong := problem(saved, SAVED)) is not None:
        raise ValueError(wrong)
    epoch, step, history = saved["epoch"], saved["step"], json.loads(saved["history"])
    if not (0 <= epoch <= epochs and 0 <= step < steps and (epoch < epochs or step == 0)):
        raise ValueError(f"it is of epoch {epoch}, step {step} of a training of {epochs} epochs of {steps} steps")
    if saved["losses"]["sums"].keys() != saved["losses"]["counts"].keys():
        raise ValueError("it counts other losses than it sums")
    if [record["epoch"] for record in history] != list(range(1, epoch + 1)):
        raise ValueError(f"its history is not of epochs 1 to {epoch}")
    for record in history:
        if (wrong := problem(record, RECORD)) is not None:
            raise ValueError(f"in its history, {wrong}")
    best = BestCheckpoint(**saved["best"]) if saved["best"] else None
    if best is None and epoch == epochs:
        raise ValueError("it is of the last epoch and has no best member")
    return history, best


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the state of an optimizer, whose own `load_state_dict` does not look at shapes.

    Raises:
        ValueError: it is of other parameters, or of another optimizer.
    """
    for own, other in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        if differing := [name for name in own if name not in ("params", "lr") and other.get(name) != own[name]]:
            raise ValueError(f"its optimizer has another {differing[0]}")
    optimizer.load_state_dict(saved)
    for parameter, state in optimizer.state.items():
        tensors = {name: value for name, value in state.items() if value is not None}
        if tensors and set(tensors) not in OPTIMIZER_STATE:
            raise ValueError(f"its optimizer remembers {', '.join(map(str, tensors))}")
        for name, value in tensors.items():
            if not isinstance(value, Tensor) or (value.shape != parameter.shape and name != "step"):
                raise ValueError(f"its optimizer has a {name} of another shape")


def check_same_run(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise UserError, naming the differences, unless two identities are equal."""
    if dict(saved.get("settings", {})).keys() != dict(wanted.get("settings", {})).keys():
        raise UserError(
            "cannot resume: the run in this folder was written by another version of studygroup; "
            "take another --out, or train it again with --overwrite"
        )
    before, after = dict(_leaves(saved)), dict(_leaves(wanted))
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if differing:
        shown = "; ".join(f"{name} was {before.get(name)!r}, is {after.get(name)!r}" for name in differing[:4])
        raise UserError(
            f"cannot resume: the run in this folder was started differently ({shown}); "
            "resume with its own config.yaml, or take another --out (and --weights to start from the weights of a finished run)"
        )


def _leaves(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, item in value.items():
        found += _leaves(item, f"{prefix}{name}.") if isinstance(item, Mapping) else [(prefix + name, item)]
    return found
