"""Activations of text networks: vectors at the token positions of texts of different lengths.

An activation is a tensor (samples first) or a `Padded` pair. The functions here take both, so code that sends samples through the
blocks of a chain (routes, branches) need not distinguish them.
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
        values: (B, T, d), zero at padding.
        mask: (B, T) bool, False at padding.
    """

    values: Tensor
    mask: Tensor


Activation = Tensor | Padded


def batch_size(activation: Activation) -> int:
    """Return the number of samples."""
    return len(activation.mask if isinstance(activation, Padded) else activation)


def concat(parts: Sequence[Activation]) -> Activation:
    """Concatenate one or more activations along the batch; texts must be padded to the same length."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Padded):
        values, masks = zip(*parts, strict=True)
        return Padded(torch.cat(values), torch.cat(masks))
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def split(activation: Activation, sizes: Sequence[int]) -> list[Activation]:
    """Split along the batch into parts of the given sizes, which sum to the number of samples."""
    if isinstance(activation, Padded):
        pieces = zip(activation.values.split(list(sizes)), activation.mask.split(list(sizes)), strict=True)
        return [Padded(values, mask) for values, mask in pieces]
    return list(activation.split(list(sizes)))


def detached(activation: Activation) -> Activation:
    """Detach from the graph."""
    return Padded(activation.values.detach(), activation.mask) if isinstance(activation, Padded) else activation.detach()


def empty(activation: Activation) -> Activation:
    """Return an activation of the same kind without samples, detached."""
    if isinstance(activation, Padded):
        return Padded(activation.values[:0].detach(), activation.mask[:0])
    return activation[:0].detach()


def to_maps(activation: Activation) -> Tensor:
    """Convert texts to maps of height 1 (B, d, 1, T), zero at padding; a tensor is unchanged."""
    return activation.values.transpose(1, 2).unsqueeze(2) if isinstance(activation, Padded) else activation


def from_maps(maps: Tensor, mask: Tensor) -> Padded:
    """Convert maps (B, d, 1, T) and a mask (B, T) to texts, zero at padding: the inverse of `to_maps`."""
    return masked(maps.squeeze(2).transpose(1, 2), mask)


def masked(values: Tensor, mask: Tensor) -> Padded:
    """Set values (B, T, d) to zero where the mask (B, T) is False. They must be finite there."""
    return Padded(values * mask.unsqueeze(-1), mask)


class TokenPositions:
    """The positions of a batch that are not padding, as rows, for layers that know no padding.

    Attributes:
        mask: (B, T) bool, False at padding.
    """

    def __init__(self, mask: Tensor) -> None:
        """Args: mask: (B, T) bool."""
        self.mask = mask

    @cached_property
    def index(self) -> Tensor | None:
        """Return the flat indices (N,) int64 of the positions in (B T); None if there is no padding."""
        index = self.mask.flatten().nonzero().squeeze(1)
        return index if len(index) < self.mask.numel() else None

    def select(self, values: Tensor) -> Tensor:
        """Args: values: (B, T, d). Returns: the rows (N, d) that are not padding, text by text."""
        flat = values.reshape(self.mask.numel(), values.shape[2])
        return flat if self.index is None else flat.index_select(0, self.index)

    def scatter(self, rows: Tensor) -> Tensor:
        """Args: rows: (N, d). Returns: (B, T, d), zero at padding."""
        if self.index is not None:
            rows = rows.new_zeros(self.mask.numel(), rows.shape[1]).index_copy_(0, self.index, rows)
        return rows.view(*self.mask.shape, rows.shape[1])

    def batch_norm(self, norm: nn.Module, values: Tensor) -> Tensor:
        """Normalise by statistics over positions that are not padding; without any, running statistics are not updated.

        Args:
            norm: a batch norm of rows (N, d). An attribute `counts` is set to the number of rows of each text, (B,) int64.
            values: (B, T, d), arbitrary at padding.

        Returns:
            (B, T, d), zero at padding.

        Raises:
            ValueError: there is a single position, and the norm is in train mode.
        """
        if not norm.training:  # each position is normalised on its own: no need to select them
            _set_counts(norm, torch.full(self.mask.shape[:1], self.mask.shape[1]))
            normalised: Tensor = norm(values.reshape(self.mask.numel(), values.shape[2]))
            return masked(normalised.view(values.shape), self.mask).values
        rows = self.select(values)
        # Synchronised batch norm, which replaces the function that a norm calls, needs a call on every rank, even without rows.
        if len(rows) or has_torch_function_unary(rows):
            _set_counts(norm, self.mask.sum(1))
            rows = norm(rows)
        return self.scatter(rows)


def _set_counts(norm: nn.Module, counts: Tensor) -> None:
    if hasattr(norm, "counts"):
        norm.counts = counts


def total(activation: Activation) -> Tensor:
    """Return the sum of all values, a scalar."""
    return activation.values.sum() if isinstance(activation, Padded) else activation.sum()
