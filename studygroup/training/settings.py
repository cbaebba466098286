"""How a run is trained, whatever the method: checked once, then passed around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from studygroup.devices import has_fast_bf16, pick_device
from studygroup.errors import UserError
from studygroup.schedules import cosine, milestones, warmup


@dataclass(frozen=True)
class Settings:
    """The trainer's own options; see `studygroup.train` for what each means. Ranges are checked where they are given.

    Raises:
        UserError: values that contradict each other.
    """

    seed: int = 0
    epochs: int = 100
    batch_size: int = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.05
    learning_rate_scales: Mapping[str, float] = field(default_factory=dict)
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "milestones", "constant"] = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup: float = 0.0
    clip_grad_norm: float | None = None
    microbatches: int = 1
    select_from: Literal["all", "last"] = "all"
    recalibrate_bn: bool = False
    device: str = "auto"
    precision: Literal["auto", "bf16", "float32"] = "auto"
    channels_last: bool | None = None
    compile: bool = False
    checkpoint_steps: int | None = None
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.schedule == "milestones" and not self.milestones:
            raise UserError("schedule is milestones, but no milestones are given; give epochs such as 60,120,160")
        if self.nesterov and self.momentum == 0 and self.optimizer == "sgd":
            raise UserError("nesterov needs a momentum above 0; give --momentum 0.9 or --no-nesterov")
        if self.microbatches > self.batch_size:
            raise UserError(
                f"microbatches is {self.microbatches}, but a batch has {self.batch_size} samples; give at most {self.batch_size}"
            )

    def rate(self, epoch: int, progress: float) -> float:
        """Factor on the learning rate: `epoch` 0-based, `progress` the epochs done, in (0, epochs]."""
        factor = warmup(progress, self.warmup)
        if self.schedule == "cosine":
            return factor * cosine(progress, self.epochs)
        if self.schedule == "milestones":
            return factor * milestones(epoch, self.milestones, self.gamma)
        return factor

    def torch_device(self) -> torch.device:
        """The device to train on.

        Raises:
            UserError: it is not there.
        """
        return pick_device(self.device)

    def autocast(self, device: torch.device) -> torch.dtype | None:
        """The type that forward passes are run in, None for float32."""
        if self.precision == "float32":
            return None
        if self.precision == "bf16" or has_fast_bf16(device):
            return torch.bfloat16
        return None

    def memory_format(self, device: torch.device) -> torch.memory_format:
        """The layout of images and convolution weights."""
        wanted = self.channels_last
        if wanted is None:
            wanted = device.type == "cuda" or self.autocast(device) is not None
        return torch.channels_last if wanted else torch.contiguous_format

    def identity(self) -> dict[str, object]:
        """What two runs must have in common for the one to go on with the other."""
        free = {"device", "compile", "checkpoint_steps", "tensorboard", "progress"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items() if name not in free}
