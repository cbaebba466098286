"""The trainer's options, resolved for a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from studygroup.devices import has_fast_bf16, pick_device
from studygroup.errors import UserError
from studygroup.options import SeedOptions, TrainerOptions
from studygroup.parameters import parameters_of
from studygroup.schedules import cosine, milestones, warmup

EPOCHS = 100
DEFAULTS = {  # optimizer: learning rate, weight decay
    "sgd": (0.05, 5e-4),
    "adam": (1e-3, 0.0),
    "adamw": (1e-3, 0.01),
}


@dataclass(frozen=True, kw_only=True)
class Settings(SeedOptions, TrainerOptions):
    """The trainer's options with the defaults of the optimizer filled in; `auto` is SGD here, and epochs are those for images.

    Raises:
        UserError: values that contradict each other.
    """

    if TYPE_CHECKING:  # resolved, so never None or "auto"
        optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
        epochs: int = 100
        learning_rate: float = 0.05
        weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        """Fill in defaults and check values that depend on each other."""
        super().__post_init__()
        if self.epochs is None:
            object.__setattr__(self, "epochs", EPOCHS)
        optimizer = str(self.optimizer).replace("auto", "sgd")
        resolved = dict(zip(("learning_rate", "weight_decay"), DEFAULTS[optimizer], strict=True))
        object.__setattr__(self, "optimizer", optimizer)
        for name, value in resolved.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.schedule == "milestones" and not self.milestones:
            raise UserError("schedule is milestones, but no milestones are given; give epochs such as 60,120,160")
        if self.nesterov and self.momentum == 0 and optimizer == "sgd":
            raise UserError("nesterov needs a momentum above 0; give --momentum 0.9 or --no-nesterov")
        if self.microbatches > self.batch_size:
            raise UserError(
                f"microbatches is {self.microbatches}, but a batch has {self.batch_size} samples; give at most {self.batch_size}"
            )

    def rate(self, epoch: int, progress: float) -> float:
        """Return the learning rate factor; `epoch` is 0-based, `progress` counts finished epochs, in (0, epochs]."""
        factor = warmup(progress, self.warmup)
        if self.schedule == "cosine":
            return factor * cosine(progress, self.epochs)
        if self.schedule == "milestones":
            return factor * milestones(epoch, self.milestones, self.gamma)
        return factor

    def torch_device(self) -> torch.device:
        """Return the device to train on.

        Raises:
            UserError: there is no such device.
        """
        return pick_device(self.device)

    def autocast(self, device: torch.device) -> torch.dtype | None:
        """Return the autocast type of forward passes, None for float32."""
        if self.precision == "float32":
            return None
        if self.precision == "bf16" or has_fast_bf16(device):
            return torch.bfloat16
        return None

    def memory_format(self, device: torch.device) -> torch.memory_format:
        """Return the memory format of images and convolution weights."""
        wanted = self.channels_last
        if wanted is None:
            wanted = device.type == "cuda" or self.autocast(device) is not None
        return torch.channels_last if wanted else torch.contiguous_format

    def identity(self) -> dict[str, object]:
        """Return the values that change the result: a run can only be resumed with the same."""
        known = parameters_of(type(self))
        return {name: value for name, value in self.plain().items() if known[name].affects == "result"}
