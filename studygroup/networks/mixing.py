"""Mixup (Zhang et al., ICLR 2018, arXiv:1710.09412) of images and texts.

The mean of two token ids is an unrelated third token. So the embeddings of texts are mixed, as in the word-level mixup of Guo, Mao
and Zhang (2019, arXiv:1905.08941).
"""

from __future__ import annotations

from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks.chain import Chain
from studygroup.networks.padded import Padded


def can_mix_texts(network: nn.Module) -> bool:
    """Return whether a network can mix texts: it must be a chain with a stage called embedding."""
    return isinstance(network, Chain) and "embedding" in network.stages


def mixed_logits(network: nn.Module, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Return the logits (B, C) of weight * first + (1 - weight) * second.

    Args:
        network: (B, ...) -> (B, C).
        first: inputs (B, ...), or token ids (B, T).
        second: inputs of the same shape.
        weight: in [0, 1], one per pair (B,) or one for all (1,).

    Raises:
        UserError: the inputs are token ids, and the network cannot mix texts.
    """
    if first.is_floating_point():
        logits: Tensor = network(_interpolate(first, second, weight))
        return logits
    if not isinstance(network, Chain) or not can_mix_texts(network):
        raise UserError(f"{type(network).__name__} is no chain with a stage called embedding, so it cannot mix texts; use one that is")
    one, other = network.embed(first), network.embed(second)
    assert isinstance(one, Padded)
    assert isinstance(other, Padded)
    return network.forward_embedded(Padded(_interpolate(one.values, other.values, weight), one.mask | other.mask))


def _interpolate(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    weight = weight.to(first).view(-1, *[1] * (first.dim() - 1))
    return weight * first + (1 - weight) * second
