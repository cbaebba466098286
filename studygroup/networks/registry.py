"""Networks by name, and the stems that they may have.

A network for larger images is written `NAME@STEM`, e.g. `resnet18@large`: another network than `resnet18`, and the name that
run folders, cards and tables know it by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from torch import nn

from studygroup.errors import UserError, unknown
from studygroup.networks import mobilenetv2 as mobilenet
from studygroup.networks import resnet
from studygroup.networks.chain import Chain
from studygroup.networks.resnet import BasicBlock, Bottleneck, narrow, wide
from studygroup.networks.shufflenetv1 import shufflenetv1
from studygroup.networks.shufflenetv2 import shufflenetv2
from studygroup.networks.vgg import vgg
from studygroup.networks.wrn import wrn

Stem = Literal["small", "medium", "large"]

RESNETS: dict[str, Callable[..., Chain]] = {
    **{f"resnet{depth}": partial(narrow, depth) for depth in (8, 14, 20, 26, 32, 44, 56, 110)},
    "resnet8x4": partial(narrow, 8, 4),
    "resnet32x4": partial(narrow, 32, 4),
    "resnet18": partial(wide, (2, 2, 2, 2), BasicBlock),
    "resnet34": partial(wide, (3, 4, 6, 3), BasicBlock),
    "resnet50": partial(wide, (3, 4, 6, 3), Bottleneck),
}

NETWORKS: dict[str, Callable[..., Chain]] = {
    **RESNETS,
    **{f"wrn_{depth}_{factor}": partial(wrn, depth, factor) for depth in (16, 40) for factor in (1, 2)},
    "vgg8": partial(vgg, (1, 1, 1, 1, 1)),
    "vgg11": partial(vgg, (1, 1, 2, 2, 2)),
    "vgg13": partial(vgg, (2, 2, 2, 2, 2)),
    "vgg16": partial(vgg, (2, 2, 3, 3, 3)),
    "vgg19": partial(vgg, (2, 2, 4, 4, 4)),
    "mobilenetv2": mobilenet.mobilenetv2,
    "shufflenetv1": shufflenetv1,
    "shufflenetv2": shufflenetv2,
}

ONLY_STEM: Mapping[str, int] = {"small": 1}
STEMS: dict[str, Mapping[str, int]] = {**dict.fromkeys(RESNETS, resnet.STEMS), "mobilenetv2": mobilenet.STEMS}
"""Stem -> how many times smaller it makes the maps, of the networks that have more than the small one."""

SMALLEST_MAP = 32  # pixels; the networks were made for images of 32x32


def create(name: str, num_classes: int, in_channels: int = 3, stem: str = "small") -> Chain:
    """A freshly initialised network.

    Args:
        name: one of `NETWORKS`, or `NAME@STEM`.
        num_classes: C, length of the logits, at least 1.
        in_channels: channels of the input images.
        stem: `small`, for images of about 32 pixels, or a larger one, if the network has it (`stems`).

    Returns:
        A chain that maps (B, in_channels, H, W) to logits (B, C).

    Raises:
        UserError: an unknown name (the nearest are offered), a stem that the network does not have, or a count below 1.
    """
    name, _, own = name.partition("@")
    stem = own or stem
    check_stem(name, stem)
    if num_classes < 1 or in_channels < 1:
        raise UserError(f"num_classes is {num_classes}, in_channels {in_channels}; both must be at least 1")
    options = {"stem": stem} if name in STEMS else {}
    return NETWORKS[name](num_classes=num_classes, in_channels=in_channels, **options)


def stems(name: str) -> Mapping[str, int]:
    """The stems of a network: name -> how many times smaller the maps are than with the small one.

    Raises:
        UserError: an unknown network; the nearest are offered.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return STEMS.get(name, ONLY_STEM)


def check_stem(name: str, stem: str) -> None:
    """Raise UserError unless there is such a network and it has this stem."""
    known = stems(name)
    if stem not in known:
        raise UserError(
            f"{name} has no stem {stem!r}, only {' and '.join(known)}; leave stem out, or ask for it by the name of a network that has it, "
            "as in resnet18@large"
        )


def full_name(name: str, stem: Stem | Literal["auto"] = "auto", size: int = SMALLEST_MAP) -> str:
    """`NAME` or `NAME@STEM`, for a network that is wanted with a stem, for images of some size.

    Args:
        name: one of `NETWORKS`, or `NAME@STEM`, which is kept.
        stem: `auto`: the stem with the smallest maps that are not smaller than the small stem's are on images of 32 pixels. For a
            ResNet: small below 64 pixels, medium below 128, else large; for MobileNetV2: small below 64, else large.
        size: height and width of the images; the smaller of the two.

    Raises:
        UserError: an unknown network, or a stem that it does not have.
    """
    name, _, own = name.partition("@")
    wanted = own or stem
    if wanted == "auto":
        known = stems(name)
        wanted = max((choice for choice in known if known[choice] == 1 or size // known[choice] >= SMALLEST_MAP), key=known.__getitem__)
    check_stem(name, wanted)
    return name if wanted == "small" else f"{name}@{wanted}"


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
