"""Weights that a network starts from: files with the key names of torchvision, timm or this library, and how they fit a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from studygroup.errors import UserError, one_line
from studygroup.networks.chain import Chain
from studygroup.networks.foreign_names import is_of_a_library, translation
from studygroup.networks.hugging_face import SequenceClassifier
from studygroup.regular import read_regular_text

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD = "classifier."
"""Prefix of the last block of a `Chain`."""
FORMATS = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True, eq=False)
class Weights:
    """Trained tensors of a network, with what is known about them.

    Attributes:
        source: what the user gave.
        tensors: state dict, with the names of the library that it is from.
        classes: names of the classes of the head; None if not known.
        mean: of the normalisation that they were trained with, per channel; None if not known.
        std: likewise.
        card: of the member of a run; None for a file that has none.
    """

    source: str
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    card: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: there are values that are not finite.
        """
        for name, value in self.tensors.items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise UserError(f"the weights {self.source} are not finite: {name} has nan or inf; give those of a training that went well")

    def digest(self) -> str:
        """Return a digest of names and values, for the identity of a run."""
        found = hashlib.sha256()
        for name, value in sorted(self.tensors.items()):
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:16]


def read_weights(path: Path) -> Weights:
    """Read a `.safetensors`, `.pt` or `.pth` file; nothing is unpickled but tensors and plain containers.

    The card of a member of a run, or of an exported file, is used if it lies beside the file: `NAME.json`.

    Raises:
        UserError: the file is missing, damaged, holds other objects, or no state dict.
    """
    if not path.is_file():
        raise UserError(f"there are no weights {path}; give the folder of a finished run, or a .safetensors, .pt or .pth file")
    if path.suffix not in FORMATS:
        raise UserError(f"the weights {path} are no .safetensors, .pt or .pth file; save the network's state_dict as one of them")
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the two readers raise for a damaged or hostile file
        raise UserError(
            f"the weights {path} cannot be read ({one_line(error, 80)}); save the network's state_dict alone, as safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"the weights {path} hold no state dict of tensors; save the network's state_dict")
    known = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if is_of_a_library(found) else {}
    return Weights(str(path), dict(found), **known | _of_card(path.with_suffix(".json")))


def _of_card(path: Path) -> dict[str, Any]:
    """Return what a card says about classes and normalisation; nothing if there is no card."""
    try:
        card = json.loads(read_regular_text(path))
        classes, scale = tuple(map(str, card["classes"])), card.get("preprocessing", card)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    found: dict[str, Any] = {"classes": classes, "card": card}
    for name in ("mean", "std"):
        if isinstance(scale.get(name), list):
            found[name] = tuple(map(float, scale[name]))
    return found


def head_names(network: nn.Module) -> set[str]:
    """Return the names in the `state_dict` of the part of a network that depends on the classes; empty if it is not known."""
    names = network.state_dict()
    if isinstance(network, Chain):
        return {name for name in names if name.startswith(HEAD)}
    if isinstance(network, SequenceClassifier):
        return network.head_names()
    known = getattr(network, "default_cfg", None)  # timm's networks say it
    prefixes = known.get("classifier") if isinstance(known, Mapping) else None
    prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes or ())
    return {name for name in names if name.startswith(tuple(f"{prefix}." for prefix in prefixes))} if prefixes else set()


@dataclass(frozen=True)
class Loaded:
    """What was loaded into a network.

    Attributes:
        line: what was loaded, renamed, left out and newly initialised.
        names: of the tensors that were loaded.
    """

    line: str
    names: frozenset[str]


@torch.no_grad()
def load_weights(network: nn.Module, weights: Weights, classes: Sequence[str] | None = None, *, keep_head: bool = False) -> Loaded:
    """Load weights into a network, in place; the head stays new where the classes differ.

    Args:
        network: freshly initialised.
        weights: for it.
        classes: names of the C classes of the network; None if not known.
        keep_head: refuse a head that stays new, of a network that is not trained further.

    Raises:
        UserError: other keys or shapes differ.
    """
    own, given = network.state_dict(), dict(weights.tensors)
    names = translation(own, given) if isinstance(network, Chain) and own.keys() - given.keys() else None
    if names is not None:
        ours = {theirs: name for name, theirs in names.items()}
        given = {ours.get(name, name): value for name, value in given.items()}
    renamed = sum(name not in weights.tensors for name in given)
    head = head_names(network)
    other_classes = weights.classes is not None and classes is not None and weights.classes != tuple(classes)
    if other_classes and not head:
        raise UserError(
            f"the weights {weights.source} are of other classes than the data, and which part of the network is its head is not known; "
            "load them in Python, and pass the module as the student"
        )
    other_shapes = any(name in given and given[name].shape != own[name].shape for name in head)
    new_head = bool(head) and (other_classes or other_shapes or given.keys().isdisjoint(head))
    if new_head and keep_head:
        raise UserError(f"the weights {weights.source} are of other classes than the data; train the network further, or give others")
    left = head if new_head else set[str]()
    counters = {name for name in own if name.endswith("num_batches_tracked") and name not in given}  # old files have none
    missing = sorted(own.keys() - given.keys() - left - counters)
    unexpected = sorted(given.keys() - own.keys())
    shapes = [name for name in own if name in given and name not in left and own[name].shape != given[name].shape]
    if missing or unexpected:
        parts = [f"{len(names)} {word}, as {names[0]}" for word, names in (("missing", missing), ("unknown", unexpected)) if names]
        raise UserError(f"the weights {weights.source} are of another network: keys {'; '.join(parts)}; give the network that they are of")
    if shapes:
        name, theirs, ours_ = shapes[0], tuple(given[shapes[0]].shape), tuple(own[shapes[0]].shape)
        remedy = "give the network and the stem that they are of, as --student resnet18@large"
        if name == next(iter(own)) and len(ours_) == 4 and (theirs[0], *theirs[2:]) == (ours_[0], *ours_[2:]):
            remedy = f"they take images of {theirs[1]} channels: --channels {theirs[1]}"
        raise UserError(f"the weights {weights.source} do not fit: {name} is {theirs}, the network's {ours_}; {remedy}")
    loaded = {name: value for name, value in given.items() if name not in left}
    network.load_state_dict(loaded, strict=False)
    fresh = sorted(left | counters)
    line = (
        f"weights of {weights.source}: {len(loaded)} tensors loaded, {renamed} renamed, {len(left & given.keys())} left out, "
        f"newly initialised: {', '.join(fresh[:4]) if fresh else 'none'}{f' and {len(fresh) - 4} more' if len(fresh) > 4 else ''}"
    )
    return Loaded(line, frozenset(loaded))
