"""What the blocks of a text network hand to each other: vectors at the positions of texts of different lengths.

An activation is a tensor, samples first, or such a pair; the functions here treat both alike, so that whoever sends samples through
the blocks of a chain (routes, branches) need not know which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary


class Padded(NamedTuple):
    """B texts, padded to a common length T.

    Attributes:
        values: (B, T, d), zero where there is no text.
        mask: (B, T) bool, whether there is.
    """

    values: Tensor
    mask: Tensor


Activation = Tensor | Padded


def samples(activation: Activation) -> int:
    """B."""
    return len(activation.mask if isinstance(activation, Padded) else activation)


def concat(parts: Sequence[Activation]) -> Activation:
    """The samples of several activations, at least one, as one; texts must be padded to one length."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Padded):
        values, masks = zip(*parts, strict=True)
        return Padded(torch.cat(values), torch.cat(masks))
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def split(activation: Activation, sizes: Sequence[int]) -> list[Activation]:
    """The first `sizes[0]` samples, the next `sizes[1]`, ...: all of them."""
    if isinstance(activation, Padded):
        pieces = zip(activation.values.split(list(sizes)), activation.mask.split(list(sizes)), strict=True)
        return [Padded(values, mask) for values, mask in pieces]
    return list(activation.split(list(sizes)))


def detached(activation: Activation) -> Activation:
    """The same without gradient."""
    return Padded(activation.values.detach(), activation.mask) if isinstance(activation, Padded) else activation.detach()


def empty(activation: Activation) -> Activation:
    """The same with no samples, and without gradient."""
    if isinstance(activation, Padded):
        return Padded(activation.values[:0].detach(), activation.mask[:0])
    return activation[:0].detach()


def maps(activation: Activation) -> Tensor:
    """Texts (B, d, 1, T), zero at padded positions, as images of height 1; a tensor as it is."""
    return activation.values.transpose(1, 2).unsqueeze(2) if isinstance(activation, Padded) else activation


def of_maps(values: Tensor, mask: Tensor) -> Padded:
    """What `maps` made images of, or what was computed of them: maps (B, d, 1, T) and a mask (B, T) -> texts, zero where there is none."""
    return masked(values.squeeze(2).transpose(1, 2), mask)


def masked(values: Tensor, mask: Tensor) -> Padded:
    """Values (B, T, d), set to zero where the mask (B, T) is False. They must be finite there."""
    return Padded(values * mask.unsqueeze(-1), mask)


class Positions:
    """The positions at which a batch has text, as rows: for layers that know no padding and must not see any.

    Attributes:
        mask: (B, T) bool.
    """

    def __init__(self, mask: Tensor) -> None:
        """Args: mask: (B, T) bool."""
        self.mask = mask

    @cached_property
    def index(self) -> Tensor | None:
        """(N,) int64, the positions with text among all B T, text by text; None if they are all."""
        index = self.mask.flatten().nonzero().squeeze(1)
        return index if len(index) < self.mask.numel() else None

    def rows(self, values: Tensor) -> Tensor:
        """Args: values: (B, T, d). Returns: (N, d), those at positions with text, text by text."""
        flat = values.reshape(self.mask.numel(), values.shape[2])
        return flat if self.index is None else flat.index_select(0, self.index)

    def back(self, rows: Tensor) -> Tensor:
        """Args: rows: (N, d). Returns: (B, T, d), zero elsewhere."""
        if self.index is not None:
            rows = rows.new_zeros(self.mask.numel(), rows.shape[1]).index_copy_(0, self.index, rows)
        return rows.view(*self.mask.shape, rows.shape[1])

    def normalised(self, norm: nn.Module, values: Tensor) -> Tensor:
        """Batch norm over positions with text alone; in eval mode, where positions are normalised each by itself, no matter over which.

        A batch without any text moves no statistics.

        Args:
            norm: a batch norm of rows (N, d). If it has an attribute `counts`, it is told there how many rows each text has: (B,) int64.
            values: (B, T, d), anything where there is no text.

        Returns:
            (B, T, d), zero where there is no text.

        Raises:
            ValueError: the batch has a single position with text, and the norm is in train mode.
        """
        if not norm.training:
            _announce(norm, torch.full(self.mask.shape[:1], self.mask.shape[1]))
            every: Tensor = norm(values.reshape(self.mask.numel(), values.shape[2]))
            return masked(every.view(values.shape), self.mask).values
        rows = self.rows(values)
        # Ranks in step, which replace the function that a norm calls, wait for the share even of one that has no text.
        if len(rows) or has_torch_function_unary(rows):
            _announce(norm, self.mask.sum(1))
            rows = norm(rows)
        return self.back(rows)


def _announce(norm: nn.Module, counts: Tensor) -> None:
    if hasattr(norm, "counts"):
        norm.counts = counts


def total(activation: Activation) -> Tensor:
    """Sum of all values, a scalar."""
    return activation.values.sum() if isinstance(activation, Padded) else activation.sum()
