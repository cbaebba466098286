"""From stored samples to network inputs, for a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from studygroup.data.images.mixing import PairMix


class Transform(Protocol):
    """Function from stored samples to network inputs, for a batch at once.

    Attributes:
        device: device of the result.
    """

    device: torch.device

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        """Transform a batch; for the arguments see `ImageTransform.__call__`."""

    def draw_mix(self, seed: int, sizes: Sequence[int]) -> PairMix | None:
        """Draw how the samples of a batch, `sizes` of each student, are mixed with each other; None if they are not.

        The same for all views of the samples, and on every rank.
        """
        return None


class TokenTransform(Transform):
    """Transfer of token ids to a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        """Move ids (b, T) to the device; the other arguments have no effect."""
        return raw.to(self.device, non_blocking=True)
