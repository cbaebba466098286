"""Where training stands, as a method sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from studygroup import randomness


@dataclass(frozen=True)
class Clock:
    """A moment of a run: step `step` of `steps` (both 0-based counts within the epoch) of epoch `epoch` of `epochs`."""

    epoch: int = 0
    epochs: int = 1
    step: int = 0
    steps: int = 1
    seed: int = 0

    @property
    def progress(self) -> float:
        """Epochs done so far as a real number, in [0, epochs)."""
        return self.epoch + self.step / self.steps

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator that depends on the seed, this moment and `purpose` only: the same on every rank and after a resume."""
        return randomness.generator(self.seed, purpose, self.epoch, self.step)
