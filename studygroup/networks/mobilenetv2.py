"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv:1801.04381).

`mobilenetv2` is the network of the CRD benchmark (Tian et al., ICLR 2020), with its parameter counts: all widths of Table 2 halved but
the last, 1280; ReLU in place of ReLU6; the first block has an expansion convolution although it expands by 1.
`mobilenetv2_100` is the paper's, at width 1, as in torchvision and timm, whose weights fit it: ReLU6, and no expansion by 1.
The second group of blocks has stride 1; `stem="large"` gives that group the paper's stride 2, for larger images.
Initialisation: Kaiming normal, fan-out, for convolutions; batch norm 1 and 0; the classifier N(0, 0.01) and 0.
"""

from __future__ import annotations

from torch import Tensor, nn

from studygroup.networks.chain import Chain, Pool
from studygroup.networks.layers import classifier, convolution, with_batch_norm

LAST = 1280
# Table 2 by stage: expansion, width, number of blocks, stride of the first of them (None: 2 with the large stem, else 1)
GROUPS: tuple[tuple[tuple[int, int, int, int | None], ...], ...] = (
    ((1, 16, 1, 1), (6, 24, 2, None)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise and linear 1x1 convolutions: (B, c, h, w) -> (B, width, h / stride, w / stride).

    The input is added where the shape stays the same. There is no final activation.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        expansion: int,
        activation: type[nn.Module] = nn.ReLU,
        *,
        expand_by_one: bool = True,
    ) -> None:
        """Make the convolutions.

        Args:
            channels: of the input.
            width: of the output.
            stride: of the depthwise convolution.
            expansion: inner channels / channels.
            activation: after the first two convolutions.
            expand_by_one: whether there is an expansion convolution where the expansion is 1.
        """
        super().__init__()
        inner = channels * expansion
        expand = [convolution(channels, inner, 1)] if expansion > 1 or expand_by_one else []
        self.body = nn.Sequential(
            *(layer for step in expand for layer in (*with_batch_norm(step), activation())),
            *with_batch_norm(convolution(inner, inner, 3, stride, groups=inner)),
            activation(),
            *with_batch_norm(convolution(inner, width, 1)),
        )
        self.residual = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def mobilenetv2(*, num_classes: int, in_channels: int = 3, stem: str = "small") -> Chain:
    """Make the half-width network of the distillation literature; arguments and result as of `mobilenetv2_100`."""
    return _make(0.5, nn.ReLU, num_classes, in_channels, stem, expand_by_one=True)


def mobilenetv2_100(*, num_classes: int, in_channels: int = 3, stem: str = "small") -> Chain:
    """Make the paper's network as a chain `stem | stage1 | ... | stage4 | head`; the head starts with the last 1x1 convolution.

    Args:
        num_classes: C, length of the logits.
        in_channels: channels of the input images.
        stem: small or large.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 1.
    """
    return _make(1.0, nn.ReLU6, num_classes, in_channels, stem, expand_by_one=False)


def _make(factor: float, activation: type[nn.Module], num_classes: int, in_channels: int, stem: str, *, expand_by_one: bool) -> Chain:
    channels, stem_stride = int(32 * factor), 2 if stem == "large" else 1
    first = nn.Sequential(*with_batch_norm(convolution(in_channels, channels, 3, 2)), activation())
    stages: dict[str, dict[str, nn.Module]] = {"stem": {"stem": first}}
    for number, groups in enumerate(GROUPS, start=1):
        blocks: dict[str, nn.Module] = {}
        for expansion, paper_width, depth, stride in groups:
            width = int(paper_width * factor)
            for position in range(depth):
                block_stride = (stride or stem_stride) if position == 0 else 1
                block = InvertedResidual(channels, width, block_stride, expansion, activation, expand_by_one=expand_by_one)
                blocks[f"stage{number}_block{len(blocks) + 1}"] = block
                channels = width
        stages[f"stage{number}"] = blocks
    last = nn.Sequential(*with_batch_norm(convolution(channels, LAST, 1)), activation())
    stages["head"] = {"conv": last, "pool": Pool(), "classifier": classifier(LAST, num_classes)}
    return Chain(stages)
