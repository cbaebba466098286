"""VGG networks with batch norm (Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556).

Five groups of 3x3 convolutions of 64, 128, 256, 512, 512 channels, each group but the first after a 2x2 max-pool. The
definition and parameter counts are those of the CRD benchmark (Tian et al., ICLR 2020): convolutions with bias and batch
norm, one linear layer after global average pooling in place of the paper's three, `vgg8` with one convolution per group, and
no max-pool before the last group for small images. Departure: there the last max-pool is for images of exactly 64 pixels;
here it is for all of at least 64.
Initialisation: Kaiming normal, fan-out, for convolutions; batch norm 1 and 0; the classifier N(0, 0.01); biases 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from studygroup.networks.chain import Chain, Pool
from studygroup.networks.layers import classifier, convolution, with_relu

WIDTHS = (64, 128, 256, 512, 512)


class HalveLarge(nn.Module):
    """A 2x2 max-pool for maps of at least 8x8; smaller ones are unchanged."""

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, c, h, w). Returns: (B, c, h, w) or (B, c, h / 2, w / 2)."""
        return max_pool2d(maps, 2) if min(maps.shape[2:]) >= 8 else maps


def _pool(group: int) -> list[nn.Module]:
    """Return the max-pool before a group; the stem is group 0."""
    return [] if group == 0 else [nn.MaxPool2d(2) if group < 4 else HalveLarge()]


def vgg(depths: Sequence[int], *, num_classes: int, in_channels: int = 3) -> Chain:
    """Make a VGG network as a chain `stem | stage1 | ... | stage4 | head`; the stem is the first group.

    Args:
        depths: number of convolutions of each of the five groups.
        num_classes: C, length of the logits.
        in_channels: channels of the input images.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 8, for the max-pools halve them three times.
    """
    stages: dict[str, dict[str, nn.Module]] = {}
    channels = in_channels
    for number, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True)):
        stage = f"stage{number}" if number else "stem"
        blocks: dict[str, nn.Module] = {}
        for position in range(depth):
            pool = _pool(number) if position == 0 else []  # not a block of its own, for routes choose among blocks
            blocks[f"{stage}_block{position + 1}"] = nn.Sequential(*pool, *with_relu(convolution(channels, width, 3, bias=True)))
            channels = width
        stages[stage] = blocks
    stages["head"] = {"pool": Pool(), "classifier": classifier(channels, num_classes)}
    return Chain(stages)


vgg8 = partial(vgg, (1, 1, 1, 1, 1))
vgg11 = partial(vgg, (1, 1, 2, 2, 2))
vgg13 = partial(vgg, (2, 2, 2, 2, 2))
vgg16 = partial(vgg, (2, 2, 3, 3, 3))
vgg19 = partial(vgg, (2, 2, 4, 4, 4))
