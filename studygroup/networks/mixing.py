"""Mix-up (Zhang et al., ICLR 2018, arXiv:1710.09412) of whatever a network takes.

Images are mixed as they are. The mean of two token ids is a third word, which has nothing to do with either: of texts the embeddings are
mixed, as in the word-level form of Guo, Mao and Zhang (2019, arXiv:1905.08941), and the blocks after the embedding see both texts at once.
"""

from __future__ import annotations

from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks.chain import Chain
from studygroup.networks.padded import Padded


def mixes_texts(network: nn.Module) -> bool:
    """Whether texts can be mixed in a network: only a chain says where its embedding ends."""
    return isinstance(network, Chain) and "embedding" in network.stages


def mixed_logits(network: nn.Module, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Logits (B, C) of weight * first + (1 - weight) * second.

    Args:
        network: (B, ...) -> (B, C).
        first: inputs (B, ...), or token ids (B, T).
        second: of the same shape.
        weight: in [0, 1], of each pair (B,), or one for all (1,).

    Raises:
        UserError: the inputs are token ids, and the network does not say where its embedding ends.
    """
    if first.is_floating_point():
        logits: Tensor = network(_between(first, second, weight))
        return logits
    if not isinstance(network, Chain) or not mixes_texts(network):
        raise UserError(
            f"{type(network).__name__} is no chain with a stage called embedding, so texts cannot be mixed in it; take one that is"
        )
    one, other = network.embed(first), network.embed(second)
    assert isinstance(one, Padded)
    assert isinstance(other, Padded)
    return network.after_embedding(Padded(_between(one.values, other.values, weight), one.mask | other.mask))


def _between(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    weight = weight.to(first).view(-1, *[1] * (first.dim() - 1))
    return weight * first + (1 - weight) * second
