"""A small transformer encoder for texts (Vaswani et al., NeurIPS 2017, arXiv:1706.03762).

CGL (Feng et al., AAAI 2021) trains one on IMDB with 3 blocks, 4 heads, width 128, feed-forward layers of 512, embeddings of 512 and a
vocabulary of 16,000. The paper leaves open how embeddings of 512 become vectors of 128, where layer norms and dropout are, and how
positions are pooled. Here: a linear projection; layer norm after each sublayer and dropout of 0.1 as in Vaswani et al. (section 5.4: on
each sublayer's output, and on the sum of embeddings and positions; none inside attention and feed-forward layers); sinusoidal
positions, for texts of any length; and the mean over positions.
8,852,738 parameters with 2 classes.

Padding has no influence: no position attends to it, and the mean leaves it out. The mean of an empty text is zero.
Initialisation: torch's own.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks.chain import Chain
from studygroup.networks.layers import TokenEmbedding
from studygroup.networks.padded import Padded, masked


def sinusoidal_positions(length: int, width: int, like: Tensor) -> Tensor:
    """Return sinusoidal position embeddings (Vaswani et al., section 3.5).

    Entry (t, 2 i) is sin(t / 10000^(2 i / width)), entry (t, 2 i + 1) the cosine of the same.

    Args:
        length: T.
        width: d.
        like: a tensor with the device and dtype of the result.

    Returns:
        (T, d).
    """
    exact = torch.float64 if like.dtype == torch.float64 else torch.float32
    even = torch.arange(0, width, 2, device=like.device, dtype=exact)
    angles = torch.arange(length, device=like.device, dtype=exact).unsqueeze(1) * torch.exp(even * (-math.log(10_000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width].to(like.dtype)


class Embedding(nn.Module):
    """Projected token embeddings plus position embeddings: ids (B, T) -> `Padded` (B, T, width)."""

    def __init__(self, vocabulary: int, embedding: int, width: int, dropout: float) -> None:
        """Args: vocabulary: number of ids. embedding: width of a token embedding. width: after the projection. dropout: probability."""
        super().__init__()
        self.embedding = TokenEmbedding(vocabulary, embedding)
        self.projection = nn.Linear(embedding, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Padded:
        """Args: ids: (B, T) int64."""
        tokens, mask = self.embedding(ids)
        # Recomputed in each call: negligible beside the blocks, and a cache could be too short or on another device.
        positions = sinusoidal_positions(ids.shape[1], self.projection.out_features, self.projection.weight)
        return masked(self.dropout(self.projection(tokens) + positions), mask)


class Attention(nn.Module):
    """Self-attention, dropout, residual connection and layer norm: `Padded` (B, T, d) -> the same."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Args: width: d, a multiple of `heads`. heads: of attention. dropout: probability."""
        super().__init__()
        self.heads = heads
        self.mixed = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, d)."""
        values, mask = x
        return masked(self.norm(values + self.dropout(self.out(self.attend(self.mixed(values), mask)))), mask)

    def attend(self, mixed: Tensor, mask: Tensor) -> Tensor:
        """Compute scaled dot-product attention to the positions that are not padding.

        Args:
            mixed: (B, T, 3 d), queries, keys and values.
            mask: (B, T).

        Returns:
            (B, T, d).
        """
        dtype = mixed.dtype
        if mixed.device.type == "cpu" and dtype == torch.bfloat16:
            mixed = mixed.float()  # torch's backward pass of bfloat16 attention is up to three times slower on the CPU (LOG.md)
        queries, keys, values = mixed.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, T, d / heads) each
        # An empty text attends to padding, for the softmax needs a position; the result is set to zero at the end.
        visible = mask | ~mask.any(1, keepdim=True)
        with torch.autocast(mixed.device.type, enabled=False):
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible[:, None, None, :])
        return attended.transpose(1, 2).flatten(2).to(dtype)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU, dropout, residual connection and layer norm: `Padded` (B, T, d) -> the same."""

    def __init__(self, width: int, inside: int, dropout: float) -> None:
        """Args: width: d. inside: hidden width. dropout: probability."""
        super().__init__()
        self.inside = nn.Linear(width, inside)
        self.relu = nn.ReLU()
        self.out = nn.Linear(inside, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, d)."""
        values, mask = x
        return masked(self.norm(values + self.dropout(self.out(self.relu(self.inside(values))))), mask)


class TransformerBlock(nn.Sequential):
    """Attention and a feed-forward layer: `Padded` (B, T, d) -> the same."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        """Args: width: d, a multiple of `heads`. heads: of attention. feedforward: its hidden width. dropout: probability."""
        parts = {"attention": Attention(width, heads, dropout), "feedforward": FeedForward(width, feedforward, dropout)}
        super().__init__(OrderedDict(parts))


class MeanPool(nn.Module):
    """Mean over the positions of a text, zero for an empty one: `Padded` (B, T, d) -> (B, d)."""

    def forward(self, x: Padded) -> Tensor:
        """Args: x: (B, T, d)."""
        return x.values.sum(1) / x.mask.sum(1, keepdim=True).clamp_min(1)


def transformer(
    *,
    num_classes: int,
    vocabulary: int = 16_000,
    depth: int = 3,
    heads: int = 4,
    hidden: int = 128,
    embedding: int = 512,
    feedforward: int = 512,
    dropout: float = 0.1,
    sublayers: int = 0,
) -> Chain:
    """Make a transformer as a chain `embedding | stage1 | ... | stage<depth> | head`.

    Args:
        num_classes: C, length of the logits.
        vocabulary: number of token ids; 0 is padding.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `hidden`.
        hidden: width of the blocks' inputs and outputs.
        embedding: width of a token embedding.
        feedforward: hidden width of the feed-forward layers.
        dropout: probability in [0, 1).
        sublayers: 0: a stage is one block, attention and a feed-forward layer; 1: these are two blocks, which are routed separately.
            It changes nothing else.

    Returns:
        A network of token ids (B, T) -> logits (B, C) for any T of at least 1.

    Raises:
        UserError: `heads` does not divide `hidden`, `dropout` is out of range, or `sublayers` is neither 0 nor 1.
    """
    if hidden % heads:
        raise UserError(f"hidden is {hidden}, which is no multiple of {heads} heads; make it one")
    if not 0.0 <= dropout < 1.0:
        raise UserError(f"dropout is {dropout}; it must be at least 0 and below 1")
    if sublayers not in (0, 1):
        raise UserError(f"sublayers is {sublayers}; it must be 0 or 1")
    stages: dict[str, dict[str, nn.Module]] = {"embedding": {"embedding": Embedding(vocabulary, embedding, hidden, dropout)}}
    for number in range(1, depth + 1):
        block = TransformerBlock(hidden, heads, feedforward, dropout)
        parts = block.named_children() if sublayers else [("block1", block)]
        stages[f"stage{number}"] = {f"stage{number}_{part}": layer for part, layer in parts}
    stages["head"] = {"pool": MeanPool(), "classifier": nn.Linear(hidden, num_classes)}
    return Chain(stages)
