"""What the blocks of a text network hand to each other: vectors at the positions of texts of different lengths.

An activation is a tensor, samples first, or such a pair; the functions here treat both alike, so that whoever sends samples through
the blocks of a chain (routes, branches) need not know which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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


def joined(parts: Sequence[Activation]) -> Activation:
    """The samples of several activations, at least one, as one; texts must be padded to one length."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Padded):
        values, masks = zip(*parts, strict=True)
        return Padded(torch.cat(values), torch.cat(masks))
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def parted(activation: Activation, sizes: Sequence[int]) -> list[Activation]:
    """The first `sizes[0]` samples, the next `sizes[1]`, ...: all of them."""
    if isinstance(activation, Padded):
        pieces = zip(activation.values.split(list(sizes)), activation.mask.split(list(sizes)), strict=True)
        return [Padded(values, mask) for values, mask in pieces]
    return list(activation.split(list(sizes)))


def detached(activation: Activation) -> Activation:
    """The same without gradient."""
    return Padded(activation.values.detach(), activation.mask) if isinstance(activation, Padded) else activation.detach()


def nobody(activation: Activation) -> Activation:
    """The same with no samples, and without gradient."""
    if isinstance(activation, Padded):
        return Padded(activation.values[:0].detach(), activation.mask[:0])
    return activation[:0].detach()


def maps(activation: Activation) -> Tensor:
    """Texts (B, d, 1, T), zero at padded positions, as images of height 1; a tensor as it is."""
    return activation.values.transpose(1, 2).unsqueeze(2) if isinstance(activation, Padded) else activation


def total(activation: Activation) -> Tensor:
    """Sum of all values, a scalar."""
    return activation.values.sum() if isinstance(activation, Padded) else activation.sum()
