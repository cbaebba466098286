"""The progress of training, as a method sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from studygroup import randomness


@dataclass(frozen=True)
class Clock:
    """The current 0-based epoch and step, their totals (`steps` per epoch), and the seed of the run."""

    epoch: int = 0
    epochs: int = 1
    step: int = 0
    steps: int = 1
    seed: int = 0

    @property
    def progress(self) -> float:
        """Return the number of epochs done, in [0, epochs), with the fraction of the current one."""
        return self.epoch + self.step / self.steps

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator seeded by seed, epoch, step and `purpose` only: the same on every rank and after a resume."""
        return randomness.generator(self.seed, purpose, self.epoch, self.step)
