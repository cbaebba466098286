"""Very deep convolutional networks for texts, character by character (Conneau et al., EACL 2017, arXiv:1606.01781).

Embeddings of 16; a convolution to 64 channels; four stages of 64, 128, 256, 512 channels, each but the first after a max-pool that
halves the length; a stage has 1, 1, 1, 1 (`vdcnn9`), 2, 2, 2, 2 (`vdcnn17`) or 5, 5, 2, 2 (`vdcnn29`) blocks of two convolutions
of width 3, each with bias, batch norm and ReLU; the 8 largest values of each channel in their order (k-max pooling);
three linear layers. No shortcuts by default (the paper's are optional); with them, a block adds its input to its result, through a
convolution of width 1 and a batch norm where the number of channels changes, before the last ReLU. `vdcnn9` has 14,180,165 parameters
with 5 classes, 14,353,989 with shortcuts.

Padding has no influence: convolutions see zeros after the end of a text, and max-pools and batch-norm statistics leave padding out.
If fewer than 8 positions are left before k-max pooling, zeros are appended. Of equal values, it takes the first.
Initialisation: convolutions Kaiming normal, fan-out, bias 0 (He et al., ICCV 2015, as in the paper); else torch's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks.chain import Chain
from studygroup.networks.layers import TokenEmbedding
from studygroup.networks.padded import Padded, TokenPositions, masked


def convolution(channels: int, width: int, kernel: int = 3, *, bias: bool = True) -> nn.Conv1d:
    """Make a convolution that keeps the length. Weights Kaiming normal, fan-out; bias 0."""
    layer = nn.Conv1d(channels, width, kernel, padding=kernel // 2, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def convolve(layer: nn.Conv1d, values: Tensor) -> Tensor:
    """Convolve (B, T, c) -> (B, T, width), as images in channels-last layout: (B, T, c) has it without a copy."""
    images = values.transpose(1, 2).unsqueeze(2)
    return F.conv2d(images, layer.weight.unsqueeze(2), layer.bias, padding=(0, layer.kernel_size[0] // 2)).squeeze(2).transpose(1, 2)


def halve(x: Padded) -> Padded:
    """Max-pool with width 3 and stride 2, (B, T, d) -> (B, ceil(T / 2), d), leaving out padding."""
    values, mask = x
    images = values.masked_fill(~mask.unsqueeze(-1), -float("inf")).transpose(1, 2).unsqueeze(2)
    largest = F.max_pool2d(images, (1, 3), (1, 2), (0, 1)).squeeze(2).transpose(1, 2)
    mask = mask[:, ::2]
    return Padded(largest.masked_fill(~mask.unsqueeze(-1), 0.0), mask)


class Stem(nn.Module):
    """A convolution: `Padded` (B, T, c) -> (B, T, width)."""

    def __init__(self, channels: int, width: int) -> None:
        """Args: channels: of the input. width: of the output."""
        super().__init__()
        self.conv = convolution(channels, width)

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, c)."""
        return masked(convolve(self.conv, x.values), x.mask)


class ConvolutionBlock(nn.Module):
    """Twice a convolution, batch norm and ReLU: `Padded` (B, T, c) -> (B, T, width), after an optional max-pool that halves T."""

    def __init__(self, channels: int, width: int, *, halve: bool, shortcut: bool) -> None:
        """Args: channels: of the input. width: of the output. halve: whether to halve T first. shortcut: whether to add the input."""
        super().__init__()
        self.halve = halve
        self.shortcut = shortcut
        self.conv1 = convolution(channels, width)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = convolution(width, width)
        self.bn2 = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()
        changes = shortcut and channels != width
        self.projection = convolution(channels, width, 1, bias=False) if changes else None
        self.bn3 = nn.BatchNorm1d(width) if changes else None

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, c)."""
        x = halve(x) if self.halve else x
        positions = TokenPositions(x.mask)
        y = self.relu(positions.batch_norm(self.bn1, convolve(self.conv1, x.values)))
        y = positions.batch_norm(self.bn2, convolve(self.conv2, y))
        if self.projection is not None and self.bn3 is not None:
            y = y + positions.batch_norm(self.bn3, convolve(self.projection, x.values))
        elif self.shortcut:
            y = y + x.values
        return Padded(self.relu(y), x.mask)


class ConvolutionLayer(nn.Module):
    """Half a block without shortcut: a convolution, batch norm and ReLU, `Padded` (B, T, c) -> (B, T, width)."""

    def __init__(self, channels: int, width: int, *, halve: bool) -> None:
        """Args: channels: of the input. width: of the output. halve: whether to halve T first."""
        super().__init__()
        self.halve = halve
        self.conv = convolution(channels, width)
        self.bn = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, c)."""
        values, mask = halve(x) if self.halve else x
        return Padded(self.relu(TokenPositions(mask).batch_norm(self.bn, convolve(self.conv, values))), mask)


class KMaxPool(nn.Module):
    """The k largest values of each channel, in their order: `Padded` (B, T, d) -> (B, d k), channel by channel.

    Of equal values the first are taken, so that padding has no influence. Zeros are appended if a text has fewer positions.
    """

    def __init__(self, k: int) -> None:
        """Args: k: number of values per channel."""
        super().__init__()
        self.k = k

    def forward(self, x: Padded) -> Tensor:
        """Args: x: (B, T, d)."""
        values, mask = x.values.transpose(1, 2), x.mask.unsqueeze(1)  # (B, d, T), (B, 1, T)
        # A traced graph has one amount for all lengths: appending k zeros always gives the same result.
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        missing = self.k if tracing else max(self.k - mask.shape[2], 0)
        values, mask = F.pad(values, (0, missing)).contiguous(), F.pad(mask, (0, missing))
        order = values.detach().masked_fill(~mask, -float("inf")).argsort(dim=2, descending=True, stable=True)
        top = order[..., : self.k].sort(2).values
        return (values.gather(2, top) * mask.expand(values.shape).gather(2, top)).flatten(1)


def vdcnn(
    depths: Sequence[int],
    *,
    num_classes: int,
    vocabulary: int = 72,
    embedding: int = 16,
    width: int = 64,
    k: int = 8,
    hidden: int = 2048,
    shortcut: int = 0,
    convolutions: int = 0,
) -> Chain:
    """Make a network of Conneau et al. as a chain `embedding | stem | stage1 | ... | stage4 | head`.

    Args:
        depths: number of blocks of each stage.
        num_classes: C, length of the logits.
        vocabulary: number of token ids; 0 is padding. By default 69 characters, padding, unknown and space.
        embedding: width of a character embedding.
        width: channels of the first stage; each further stage has twice as many.
        k: number of values per channel after k-max pooling.
        hidden: width of the two hidden linear layers.
        shortcut: 1: blocks have a shortcut; 0: they have none.
        convolutions: 0: a block has two convolutions; 1: each is a block, routed separately: the "9 layers" of `vdcnn9` in the CGL paper.
            It changes nothing else.

    Returns:
        A network of token ids (B, T) -> logits (B, C) for any T of at least 1. The input of its block `classifier` is (B, 8 width k).

    Raises:
        UserError: `shortcut` or `convolutions` is neither 0 nor 1, or both are 1.
    """
    for option, value in (("shortcut", shortcut), ("convolutions", convolutions)):
        if value not in (0, 1):
            raise UserError(f"{option} is {value}; it must be 0 or 1")
    if shortcut and convolutions:
        raise UserError("shortcut and convolutions are both 1, but a shortcut needs a block of two convolutions; leave one out")
    stages: dict[str, dict[str, nn.Module]] = {
        "embedding": {"embedding": TokenEmbedding(vocabulary, embedding)},
        "stem": {"stem": Stem(embedding, width)},
    }
    channels = width
    for number, depth in enumerate(depths, start=1):
        blocks: dict[str, nn.Module] = {}
        for position in range(depth):
            name = f"stage{number}_block{position + 1}"
            halve = number > 1 and position == 0  # not a block of its own, for routes choose among blocks
            if convolutions:
                blocks[f"{name}_conv1"] = ConvolutionLayer(channels, width, halve=halve)
                blocks[f"{name}_conv2"] = ConvolutionLayer(width, width, halve=False)
            else:
                blocks[name] = ConvolutionBlock(channels, width, halve=halve, shortcut=bool(shortcut))
            channels = width
        stages[f"stage{number}"] = blocks
        width *= 2
    linear = [nn.Linear(channels * k, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)]
    stages["head"] = {"pool": KMaxPool(k), "classifier": nn.Sequential(*linear)}
    return Chain(stages)


vdcnn9 = partial(vdcnn, (1, 1, 1, 1))
vdcnn17 = partial(vdcnn, (2, 2, 2, 2))
vdcnn29 = partial(vdcnn, (5, 5, 2, 2))
