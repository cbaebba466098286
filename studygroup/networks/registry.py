"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from studygroup.errors import UserError, unknown
from studygroup.networks.chain import Chain
from studygroup.networks.resnet import BasicBlock, Bottleneck, narrow, wide

NETWORKS: dict[str, Callable[..., Chain]] = {
    **{f"resnet{depth}": partial(narrow, depth) for depth in (8, 14, 20, 26, 32, 44, 56, 110)},
    "resnet8x4": partial(narrow, 8, 4),
    "resnet32x4": partial(narrow, 32, 4),
    "resnet18": partial(wide, (2, 2, 2, 2), BasicBlock),
    "resnet34": partial(wide, (3, 4, 6, 3), BasicBlock),
    "resnet50": partial(wide, (3, 4, 6, 3), Bottleneck),
}


def create(name: str, num_classes: int, in_channels: int = 3) -> Chain:
    """A freshly initialised network.

    Args:
        name: one of `NETWORKS`.
        num_classes: C, length of the logits, at least 1.
        in_channels: channels of the input images.

    Returns:
        A chain that maps (B, in_channels, H, W) to logits (B, C).

    Raises:
        UserError: an unknown name (the nearest are offered) or a count below 1.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    if num_classes < 1 or in_channels < 1:
        raise UserError(f"num_classes is {num_classes}, in_channels {in_channels}; both must be at least 1")
    return NETWORKS[name](num_classes=num_classes, in_channels=in_channels)


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
