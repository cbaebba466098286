"""A small transformer encoder for texts (Vaswani et al., NeurIPS 2017, arXiv:1706.03762).

CGL (Feng et al., AAAI 2021) trains one on IMDB with 3 blocks, 4 heads, width 128, feed-forward layers of 512, embeddings of 512 and a
vocabulary of 16,000. It does not say how embeddings of 512 become vectors of 128, where the layer norms stand, what is dropped out or how
positions are pooled. Here: a linear projection; layer norm behind each sublayer and dropout of 0.1 where Vaswani et al. have both (their
section 5.4: on each sublayer's output, and on the sum of embeddings and positions; none inside attention and feed-forward layers);
sinusoidal positions, for texts of any length; and the mean over a text's positions.
8,852,738 parameters with 2 classes.

Padding takes part in nothing: no position attends to it, and it is left out of the mean. The mean of an empty text is zero.
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


def positions(length: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (Vaswani et al., section 3.5).

    Entry (t, 2 i) is sin(t / 10000^(2 i / width)), entry (t, 2 i + 1) the cosine of the same.

    Args:
        length: T.
        width: d.
        like: a tensor whose device and precision they get.

    Returns:
        (T, d).
    """
    exact = torch.float64 if like.dtype == torch.float64 else torch.float32
    even = torch.arange(0, width, 2, device=like.device, dtype=exact)
    angles = torch.arange(length, device=like.device, dtype=exact).unsqueeze(1) * torch.exp(even * (-math.log(10_000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width].to(like.dtype)


class Embedding(nn.Module):
    """Tokens' vectors, projected, and their positions: ids (B, T) -> `Padded` (B, T, width)."""

    def __init__(self, vocabulary: int, embedding: int, width: int, dropout: float) -> None:
        """Args: vocabulary: number of ids. embedding: width of a token's vector. width: behind the projection. dropout: probability."""
        super().__init__()
        self.embedding = TokenEmbedding(vocabulary, embedding)
        self.projection = nn.Linear(embedding, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Padded:
        """Args: ids: (B, T) int64."""
        tokens, mask = self.embedding(ids)
        # Computed anew: that takes no time beside the blocks, and what is not kept cannot be too short, or on another device.
        feature_layers = positions(ids.shape[1], self.projection.out_features, self.projection.weight)
        return masked(self.dropout(self.projection(tokens) + feature_layers), mask)


class Attention(nn.Module):
    """Self-attention with dropout, added to its input and normalised: `Padded` (B, T, d) -> the same."""

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
        """Scaled dot-product attention to the positions with text.

        Args:
            mixed: (B, T, 3 d), queries, keys and values.
            mask: (B, T).

        Returns:
            (B, T, d).
        """
        kind = mixed.dtype
        if mixed.device.type == "cpu" and kind == torch.bfloat16:
            mixed = mixed.float()  # for bfloat16 torch's way back through attention takes up to three times as long there (LOG.md)
        queries, keys, values = mixed.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, T, d / heads) each
        # An empty text attends to its padding: no softmax of nothing, and what comes of it is set to zero at the end.
        seen = mask | ~mask.any(1, keepdim=True)
        with torch.autocast(mixed.device.type, enabled=False):
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen[:, None, None, :])
        return attended.transpose(1, 2).flatten(2).to(kind)


class FeedForward(nn.Module):
    """Two linear layers with ReLU between them and dropout, added to their input and normalised: `Padded` (B, T, d) -> the same."""

    def __init__(self, width: int, inside: int, dropout: float) -> None:
        """Args: width: d. inside: width between the two layers. dropout: probability."""
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
        """Args: width: d, a multiple of `heads`. heads: of attention. feedforward: width inside. dropout: probability."""
        parts = {"attention": Attention(width, heads, dropout), "feedforward": FeedForward(width, feedforward, dropout)}
        super().__init__(OrderedDict(parts))


class MeanPool(nn.Module):
    """Mean over a text's positions, zero for an empty text: `Padded` (B, T, d) -> (B, d)."""

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
    """A transformer as a chain `embedding | stage1 | ... | stage<depth> | head`.

    Args:
        num_classes: C, length of the logits.
        vocabulary: ids are 0 .. vocabulary - 1, 0 being the pad's.
        depth: number of blocks.
        heads: of attention; `hidden` is a multiple.
        hidden: width of the vectors that blocks take and give.
        embedding: width of a token's vector.
        feedforward: width inside the feed-forward layers.
        dropout: probability, 0 to below 1.
        sublayers: 0: a stage is one block, attention and a feed-forward layer; 1: these two are blocks of their own, among which routes
            choose separately. It changes nothing else.

    Returns:
        A network of ids (B, T) -> logits (B, C) for any T of at least 1.

    Raises:
        UserError: heads do not divide `hidden`, dropout is no such probability, or `sublayers` is neither 0 nor 1.
    """
    if hidden % heads:
        raise UserError(f"hidden is {hidden}, which {heads} heads cannot share equally; take a multiple of heads")
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
