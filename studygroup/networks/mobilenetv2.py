"""MobileNetV2 at half width (Sandler et al., CVPR 2018, arXiv:1801.04381).

The definition and parameter counts are those of the CRD benchmark (Tian et al., ICLR 2020): all widths of Table 2 halved but
the last, 1280; ReLU in place of ReLU6; the first block has an expansion convolution although it expands by 1; the second
group of blocks has stride 1. `stem="large"` gives that group the paper's stride 2, for larger images.
Initialisation: Kaiming normal, fan-out, for convolutions; batch norm 1 and 0; the classifier N(0, 0.01) and 0.
"""

from __future__ import annotations

from torch import Tensor, nn

from studygroup.networks.chain import Chain, Pool
from studygroup.networks.layers import classifier, convolution, with_batch_norm, with_relu

# Table 2 by stage: expansion, width before halving, number of blocks, stride of the first of them (None: 2 with the large stem, else 1)
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

    def __init__(self, channels: int, width: int, stride: int, expansion: int) -> None:
        """Args: channels: of the input. width: of the output. stride: of the depthwise one. expansion: inner channels / channels."""
        super().__init__()
        inner = channels * expansion
        self.body = nn.Sequential(
            *with_relu(convolution(channels, inner, 1)),
            *with_relu(convolution(inner, inner, 3, stride, groups=inner)),
            *with_batch_norm(convolution(inner, width, 1)),
        )
        self.residual = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def mobilenetv2(*, num_classes: int, in_channels: int = 3, stem: str = "small") -> Chain:
    """Make MobileNetV2 as a chain `stem | stage1 | ... | stage4 | head`; the head starts with the last 1x1 convolution.

    Args:
        num_classes: C, length of the logits.
        in_channels: channels of the input images.
        stem: small or large.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 1.
    """
    stages: dict[str, dict[str, nn.Module]] = {"stem": {"stem": nn.Sequential(*with_relu(convolution(in_channels, 16, 3, 2)))}}
    channels, stem_stride = 16, 2 if stem == "large" else 1
    for number, groups in enumerate(GROUPS, start=1):
        blocks: dict[str, nn.Module] = {}
        for expansion, width, depth, stride in groups:
            for position in range(depth):
                block_stride = (stride or stem_stride) if position == 0 else 1
                blocks[f"stage{number}_block{len(blocks) + 1}"] = InvertedResidual(channels, width // 2, block_stride, expansion)
                channels = width // 2
        stages[f"stage{number}"] = blocks
    last = nn.Sequential(*with_relu(convolution(channels, 1280, 1)))
    stages["head"] = {"conv": last, "pool": Pool(), "classifier": classifier(1280, num_classes)}
    return Chain(stages)
