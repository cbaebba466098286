"""Networks by name, and their stems or options.

A network for larger images is written `NAME@STEM`, e.g. `resnet18@large`: run folders, cards and tables treat it as another network
than `resnet18`. So is a text network with other sizes than its defaults: `transformer@depth=6,heads=8`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, cast

import torch
from torch import nn

from studygroup.errors import UserError, one_line, unknown_name
from studygroup.foreign import HUGGING_FACE as HUGGING_FACE
from studygroup.networks.chain import Chain
from studygroup.registry import Registry

Stem = Literal["small", "medium", "large"]


def _entries(families: Mapping[str, str]) -> dict[str, str]:
    """Return name -> import path, from the module of each family -> the names that it defines."""
    return {name: f"studygroup.networks.{module}:{name}" for module, names in families.items() for name in names.split()}


IMAGE_NETWORKS: Registry[Callable[..., Chain]] = Registry(
    "network",
    _entries(
        {
            "resnet": "resnet8 resnet14 resnet20 resnet26 resnet32 resnet44 resnet56 resnet110 resnet8x4 resnet32x4 "
            "resnet18 resnet34 resnet50",
            "wrn": "wrn_16_1 wrn_16_2 wrn_40_1 wrn_40_2",
            "vgg": "vgg8 vgg11 vgg13 vgg16 vgg19",
            "mobilenetv2": "mobilenetv2 mobilenetv2_100",
            "shufflenetv1": "shufflenetv1",
            "shufflenetv2": "shufflenetv2",
        }
    ),
)
"""Networks of this library for images, by name."""
TEXT_NETWORKS: Registry[Callable[..., Chain]] = Registry(
    "network", _entries({"transformer": "transformer", "vdcnn": "vdcnn9 vdcnn17 vdcnn29"})
)
"""Networks of this library for texts, by name."""
NETWORKS: Registry[Callable[..., nn.Module]] = Registry(
    "network", {**IMAGE_NETWORKS.built_in, **TEXT_NETWORKS.built_in}, group="studygroup.networks"
)
"""All networks, with those of other packages. One with an argument `vocabulary` reads texts, any other images."""

TOKENIZERS: Mapping[str, str] = dict.fromkeys(("vdcnn9", "vdcnn17", "vdcnn29"), "chars")
"""The tokenizers of text networks that do not use `bpe`."""

ONLY_STEM: Mapping[str, int] = {"small": 1}
STEMS: Mapping[str, Mapping[str, int]] = {
    **{name: {"small": 1, "medium": 2, "large": 4} for name in IMAGE_NETWORKS if name.startswith("resnet")},
    **{name: {"small": 1, "large": 2} for name in IMAGE_NETWORKS if name.startswith("mobilenetv2")},
}
"""Stem -> how many times smaller its maps are than with the small stem, for networks with several stems."""

SMALLEST_MAP = 32  # pixels; the networks were designed for images of 32x32
VOCABULARY = 16_000  # of a text network that has no default
MOST_PARAMETERS, LARGEST_SIZE = 10**9, 10_000
"""Bounds of a text network with options, and of each of them: names come from files, too, which must not ask for all memory."""


def create(name: str, num_classes: int, in_channels: int = 3, stem: str = "small", *, vocabulary: int | None = None) -> Chain:
    """Create a freshly initialised network.

    Args:
        name: one of `NETWORKS`, `NAME@STEM`, or, for a text network, `NAME@OPTION=VALUE,...`.
        num_classes: C, at least 1.
        in_channels: channels of the images; ignored by text networks.
        stem: `small`, for images of about 32 pixels, or a larger one of the network's `stems`.
        vocabulary: vocabulary size of a text network; its paper's by default.

    Returns:
        A chain that maps images (B, in_channels, H, W) or token ids (B, T) to logits (B, C). A network of another package may be any
        `nn.Module`.

    Raises:
        UserError: an unknown name (the nearest are offered), a stem or an option that the network does not have, an invalid value, a
            vocabulary for an image network, or a count below 1.

    Example:
        >>> import torch
        >>> from studygroup import networks
        >>> networks.create("resnet8", num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> text = networks.create("transformer@depth=2,heads=2,hidden=32", num_classes=4, vocabulary=500)
        >>> text(torch.tensor([[7, 8, 0]])).shape  # a text of two tokens, padded with 0
        torch.Size([1, 4])
        >>> networks.create("resnet7", num_classes=10)
        Traceback (most recent call last):
            ...
        studygroup.errors.UserError: unknown network 'resnet7'; did you mean resnet8 or resnet56 or resnet50?
    """
    name, suffix = split_name(name)
    if num_classes < 1 or in_channels < 1:
        raise UserError(f"num_classes is {num_classes}, in_channels {in_channels}; both must be at least 1")
    if reads_texts(name):
        check_stem(name, stem)
        if vocabulary is not None and vocabulary < 2:
            raise UserError(f"vocabulary is {vocabulary}; it must be at least 2, the padding and a token")
        if vocabulary is None and requires(NETWORKS[name], "vocabulary"):
            vocabulary = VOCABULARY
        arguments = {"num_classes": num_classes, "vocabulary": vocabulary, **_parse_options(name, suffix)}
        if name in TEXT_NETWORKS:
            _check_size(name, arguments)
        return cast(Chain, call_factory(NETWORKS[name], name, **arguments))
    stem = suffix or stem
    check_stem(name, stem)
    if vocabulary is not None:
        raise UserError(f"{name} has no vocabulary, for it reads images; use {_alternatives(TEXT_NETWORKS)}, or leave vocabulary out")
    network = call_factory(NETWORKS[name], name, num_classes=num_classes, in_channels=in_channels, stem=stem if name in STEMS else None)
    return cast(Chain, network)


def call_factory(factory: Callable[..., object], name: str, **arguments: float | str | None) -> nn.Module:
    """Call a function or class that makes a network with those arguments that it has and that are not None.

    Args:
        factory: makes the network.
        name: for the error message.
        arguments: by name.

    Raises:
        UserError: it has other required arguments, fails, or its result is no `nn.Module`.
    """
    signature = inspect.signature(factory)
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    given = {key: value for key, value in arguments.items() if value is not None and (takes_all or key in signature.parameters)}
    try:
        signature.bind(**given)
    except TypeError as error:
        known = ", ".join(key for key, value in arguments.items() if value is not None)
        raise UserError(f"{name} cannot make a network from {known} ({one_line(error)}); give its other arguments defaults") from error
    try:
        network = factory(**given)
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # it may raise anything, SystemExit too
        raise UserError(f"{name} fails with {type(error).__name__} ({one_line(error)}); correct it, or take another network") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} returned a {type(network).__name__}; it must return a torch.nn.Module")
    return network


def requires(factory: Callable[..., object], parameter: str) -> bool:
    """Return whether a function has a parameter of this name, without a default."""
    parameters = inspect.signature(factory).parameters
    return parameter in parameters and parameters[parameter].default is inspect.Parameter.empty


def split_name(name: str) -> tuple[str, str]:
    """Return the name of a network without its stem or options, and these.

    Raises:
        UserError: nothing follows the @.
    """
    base, at, suffix = name.partition("@")
    if at and not suffix:
        raise UserError(f"{name} has nothing after the @; give a stem or options, as in resnet18@large or transformer@depth=2, or {base}")
    return base, suffix


def reads_texts(name: str) -> bool:
    """Return whether a network of `NETWORKS` reads texts; otherwise it reads images.

    Raises:
        UserError: an unknown network; the nearest are offered.
    """
    name, _ = split_name(name)
    stems(name)
    if name in IMAGE_NETWORKS or name in TEXT_NETWORKS:
        return name in TEXT_NETWORKS
    return "vocabulary" in inspect.signature(NETWORKS[name]).parameters


def wrong_data_error(name: str, *, texts: bool) -> UserError:
    """Make the error for a network that does not read this kind of data.

    Args:
        name: of the network.
        texts: whether the data are texts; otherwise images.
    """
    if texts:
        return UserError(f"{name} reads images, but the data are texts; use {_alternatives(TEXT_NETWORKS)}, or hf:FOLDER")
    return UserError(f"{name} reads texts, but the data are images; use resnet20 or another of `studygroup list networks`")


def tokenizer_of(spec: object) -> str:
    """Return the tokenizer of a text network: `chars` for a VDCNN, `hf:PATH` for the model in that folder, else `bpe`.

    Args:
        spec: the network, as an argument of `train`.

    Example:
        >>> from studygroup import networks
        >>> networks.tokenizer_of("vdcnn9"), networks.tokenizer_of("transformer")
        ('chars', 'bpe')
    """
    if not isinstance(spec, str):
        return "bpe"
    return spec if spec.startswith(HUGGING_FACE) else TOKENIZERS.get(spec.partition("@")[0], "bpe")


def options_of(name: str) -> dict[str, int | float]:
    """Return the options of a text network with their defaults; none for image networks."""
    if name in IMAGE_NETWORKS or name not in NETWORKS or not reads_texts(name):
        return {}
    parameters = inspect.signature(NETWORKS[name]).parameters.values()
    return {
        option.name: option.default
        for option in parameters
        if option.name not in ("num_classes", "vocabulary") and isinstance(option.default, int | float)
    }


def _parse_options(name: str, text: str) -> dict[str, int | float]:
    """Parse `OPTION=VALUE,...` of a text network."""
    known = options_of(name)
    values: dict[str, int | float] = {}
    for item in text.split(",") if text else ():
        option, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            example = f", such as {name}@{'{}={}'.format(*next(iter(known.items())))}" if known else ""
            raise UserError(f"{name}@{text} has {item!r} where OPTION=VALUE is expected{example}")
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
        if option in values:
            raise UserError(f"{name}@{text} has {option} twice; leave one out")
        values[option] = _parse_number(f"{option} of {name}", value, known[option])
    return values


def _parse_number(label: str, text: str, default: float) -> int | float:
    """Parse a value: an integer if the default is one, and then at least 1 unless the default is 0."""
    whole = isinstance(default, int)
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{label} is {text[:40]!r}; it must be a {'whole ' if whole else ''}number")
    if whole and value < min(default, 1):
        raise UserError(f"{label} is {text}; it must be at least {min(default, 1)}")
    if whole and value > LARGEST_SIZE:
        raise UserError(f"{label} is {text[:40]}; it must be at most {LARGEST_SIZE:,}")
    return value


def _check_size(name: str, arguments: Mapping[str, float | None]) -> None:
    """Raise UserError if a network of this library has too many parameters, without storing one."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        count = parameter_count(call_factory(NETWORKS[name], name, **arguments))
    if count > MOST_PARAMETERS:
        sizes = ", ".join(f"{key} {value}" for key, value in arguments.items() if value is not None)
        raise UserError(f"{name} with {sizes} has {count:,} parameters; they must be at most {MOST_PARAMETERS:,}: give smaller sizes")


def _alternatives(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def stems(name: str) -> Mapping[str, int]:
    """Return the stems of a network: name -> how many times smaller the maps are than with the small one.

    Raises:
        UserError: an unknown network; the nearest are offered.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    return STEMS.get(name, ONLY_STEM)


def check_stem(name: str, stem: str) -> None:
    """Raise `UserError` if the network is unknown or does not have this stem."""
    known = stems(name)
    if stem in known:
        return
    if reads_texts(name):
        raise UserError(f"{name} reads texts and has no stem {stem!r}; leave stem out")
    raise UserError(
        f"{name} has no stem {stem!r}, only {' and '.join(known)}; leave stem out, or use the name of a network that has it, "
        "as in resnet18@large"
    )


def canonical_name(name: str, stem: Stem | Literal["auto"] = "auto", size: int = SMALLEST_MAP) -> str:
    """Return the one name of a network with a stem for images of some size, or of a text network with options.

    Args:
        name: one of `NETWORKS`, or `NAME@STEM`, which is kept; or `NAME@OPTION=VALUE,...`: the options are put into their order, and
            those with default values are left out.
        stem: `auto`: the stem with the smallest maps that are not smaller than those of the small stem on images of 32 pixels: for a
            ResNet, small below 64 pixels, medium below 128, else large; for MobileNetV2, small below 64, else large.
        size: the smaller of height and width of the images.

    Raises:
        UserError: an unknown network, or a stem or an option that it does not have.
    """
    name, suffix = split_name(name)
    if reads_texts(name):
        check_stem(name, "small" if stem == "auto" else stem)
        values = _parse_options(name, suffix)
        changed = [f"{option}={values[option]}" for option, default in options_of(name).items() if values.get(option, default) != default]
        return f"{name}@{','.join(changed)}" if changed else name
    chosen = suffix or stem
    if chosen == "auto":
        known = stems(name)
        chosen = max((choice for choice in known if known[choice] == 1 or size // known[choice] >= SMALLEST_MAP), key=known.__getitem__)
    check_stem(name, chosen)
    return name if chosen == "small" else f"{name}@{chosen}"


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters.

    Example:
        >>> from studygroup import networks
        >>> networks.parameter_count(networks.create("resnet20", num_classes=100))
        278324
    """
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
