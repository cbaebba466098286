"""Networks by name, and the stems or options that they may have.

A network for larger images is written `NAME@STEM`, e.g. `resnet18@large`: another network than `resnet18`, and the name that
run folders, cards and tables know it by. So is a network of texts with other sizes than its own: `transformer@depth=6,heads=8`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from torch import nn

from studygroup.errors import UserError, unknown_name
from studygroup.networks import mobilenetv2 as mobilenet
from studygroup.networks import resnet
from studygroup.networks.chain import Chain
from studygroup.networks.resnet import BasicBlock, Bottleneck, narrow, wide
from studygroup.networks.shufflenetv1 import shufflenetv1
from studygroup.networks.shufflenetv2 import shufflenetv2
from studygroup.networks.transformer import transformer
from studygroup.networks.vdcnn import vdcnn
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

IMAGE_NETWORKS: dict[str, Callable[..., Chain]] = {
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

TEXT_NETWORKS: dict[str, Callable[..., Chain]] = {
    "transformer": transformer,
    "vdcnn9": partial(vdcnn, (1, 1, 1, 1)),
    "vdcnn17": partial(vdcnn, (2, 2, 2, 2)),
    "vdcnn29": partial(vdcnn, (5, 5, 2, 2)),
}

NETWORKS: dict[str, Callable[..., Chain]] = {**IMAGE_NETWORKS, **TEXT_NETWORKS}

TOKENIZERS: Mapping[str, str] = dict.fromkeys(("vdcnn9", "vdcnn17", "vdcnn29"), "chars")
"""What a network of texts reads, if that is not `bpe`, pieces of words."""

HUGGING_FACE = "hf:"  # before the path of a model's folder

ONLY_STEM: Mapping[str, int] = {"small": 1}
STEMS: dict[str, Mapping[str, int]] = {**dict.fromkeys(RESNETS, resnet.STEMS), "mobilenetv2": mobilenet.STEMS}
"""Stem -> how many times smaller it makes the maps, of the networks that have more than the small one."""

SMALLEST_MAP = 32  # pixels; the networks were made for images of 32x32


def create(name: str, num_classes: int, in_channels: int = 3, stem: str = "small", *, vocabulary: int | None = None) -> Chain:
    """A freshly initialised network.

    Args:
        name: one of `NETWORKS`, `NAME@STEM`, or, of a network of texts, `NAME@OPTION=VALUE,...`.
        num_classes: C, length of the logits, at least 1.
        in_channels: channels of the input images; of no meaning to a network of texts.
        stem: `small`, for images of about 32 pixels, or a larger one, if the network has it (`stems`).
        vocabulary: number of ids of a network of texts; by default as many as its paper has.

    Returns:
        A chain that maps (B, in_channels, H, W), or ids of tokens (B, T), to logits (B, C).

    Raises:
        UserError: an unknown name (the nearest are offered), a stem or an option that the network does not have, a value that it
            cannot have, a vocabulary for a network of images, or a count below 1.
    """
    name, _, own = name.partition("@")
    if num_classes < 1 or in_channels < 1:
        raise UserError(f"num_classes is {num_classes}, in_channels {in_channels}; both must be at least 1")
    if name in TEXT_NETWORKS:
        check_stem(name, stem)
        if vocabulary is not None and vocabulary < 2:
            raise UserError(f"vocabulary is {vocabulary}; it must be at least 2, the padding and a token")
        sizes = {} if vocabulary is None else {"vocabulary": vocabulary}
        return TEXT_NETWORKS[name](num_classes=num_classes, **sizes, **_values(name, own))
    stem = own or stem
    check_stem(name, stem)
    if vocabulary is not None:
        raise UserError(f"{name} has no vocabulary, for it reads images; take {_nouns(TEXT_NETWORKS)}, or leave vocabulary out")
    options = {"stem": stem} if name in STEMS else {}
    return NETWORKS[name](num_classes=num_classes, in_channels=in_channels, **options)


def reads_texts(name: str) -> bool:
    """Whether a network of ours reads texts; else it reads images.

    Raises:
        UserError: an unknown network; the nearest are offered.
    """
    name = name.partition("@")[0]
    stems(name)
    return name in TEXT_NETWORKS


def misfit(name: str, *, texts: bool) -> UserError:
    """The error for a network that does not read what the data are.

    Args:
        name: of the network.
        texts: whether the data are texts; else images.
    """
    if texts:
        return UserError(f"{name} reads images, and the data are texts; take {_nouns(TEXT_NETWORKS)}, or hf:FOLDER")
    return UserError(f"{name} reads texts, and the data are images; take resnet20 or another of `studygroup list networks`")


def tokenizer_of(spec: object) -> str:
    """The kind of tokenizer that makes the ids that a network reads.

    Args:
        spec: a network of texts, as one gives it to `train`.

    Returns:
        `chars` for a VDCNN, `hf:PATH` for the model in that folder, else `bpe`.
    """
    if not isinstance(spec, str):
        return "bpe"
    return spec if spec.startswith(HUGGING_FACE) else TOKENIZERS.get(spec.partition("@")[0], "bpe")


def options_of(name: str) -> dict[str, int | float]:
    """The options that may stand in the name of a network of texts, with the values that they have if they do not; none for images."""
    if name not in TEXT_NETWORKS:
        return {}
    parameters = inspect.signature(TEXT_NETWORKS[name]).parameters.values()
    return {option.name: option.default for option in parameters if option.name not in ("num_classes", "vocabulary")}


def _values(name: str, text: str) -> dict[str, int | float]:
    """The values of `OPTION=VALUE,...` for a network of texts."""
    known = options_of(name)
    values: dict[str, int | float] = {}
    for word in text.split(",") if text else ():
        option, equals, written = (part.strip() for part in word.partition("="))
        if not equals:
            raise UserError(f"{name}@{text} has {word!r} where OPTION=VALUE is expected, such as {name}@{_example(known)}")
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
        if option in values:
            raise UserError(f"{name}@{text} says {option} twice; leave one out")
        values[option] = _number(f"{option} of {name}", written, known[option])
    return values


def _number(what: str, written: str, usual: float) -> int | float:
    """A value for an option: whole if the usual value is, and then at least 1 unless that is 0."""
    whole = isinstance(usual, int)
    try:
        value = int(written) if whole else float(written)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{what} is {written!r}; it must be a {'whole ' if whole else ''}number")
    if whole and value < min(usual, 1):
        raise UserError(f"{what} is {written}; it must be at least {min(usual, 1)}")
    return value


def _example(known: Mapping[str, int | float]) -> str:
    return "{}={}".format(*next(iter(known.items())))


def _nouns(names: Mapping[str, object]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def stems(name: str) -> Mapping[str, int]:
    """The stems of a network: name -> how many times smaller the maps are than with the small one.

    Raises:
        UserError: an unknown network; the nearest are offered.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    return STEMS.get(name, ONLY_STEM)


def check_stem(name: str, stem: str) -> None:
    """Raise UserError unless there is such a network and it has this stem."""
    known = stems(name)
    if name in TEXT_NETWORKS and stem != "small":
        raise UserError(f"{name} reads texts and has no stem {stem!r}; leave stem out")
    if stem not in known:
        raise UserError(
            f"{name} has no stem {stem!r}, only {' and '.join(known)}; leave stem out, or ask for it by the name of a network that has it, "
            "as in resnet18@large"
        )


def full_name(name: str, stem: Stem | Literal["auto"] = "auto", size: int = SMALLEST_MAP) -> str:
    """`NAME` or `NAME@STEM`, for a network that is wanted with a stem, for images of some size; the one name of a network of texts.

    Args:
        name: one of `NETWORKS`, or `NAME@STEM`, which is kept; or `NAME@OPTION=VALUE,...`, which gets the options in their own order,
            without those that say what is so anyway.
        stem: `auto`: the stem with the smallest maps that are not smaller than the small stem's are on images of 32 pixels. For a
            ResNet: small below 64 pixels, medium below 128, else large; for MobileNetV2: small below 64, else large.
        size: height and width of the images; the smaller of the two.

    Raises:
        UserError: an unknown network, or a stem or an option that it does not have.
    """
    name, _, own = name.partition("@")
    if name in TEXT_NETWORKS:
        check_stem(name, "small" if stem == "auto" else stem)
        values = _values(name, own)
        said = [f"{option}={values[option]}" for option, usual in options_of(name).items() if values.get(option, usual) != usual]
        return f"{name}@{','.join(said)}" if said else name
    wanted = own or stem
    if wanted == "auto":
        known = stems(name)
        wanted = max((choice for choice in known if known[choice] == 1 or size // known[choice] >= SMALLEST_MAP), key=known.__getitem__)
    check_stem(name, wanted)
    return name if wanted == "small" else f"{name}@{wanted}"


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
