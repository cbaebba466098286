"""Weights that a network starts from: files with the key names of torchvision, timm or this library, and how they fit a network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from studygroup.errors import UserError, one_line
from studygroup.networks.chain import Chain

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD = "classifier."
"""Prefix of the last block of a `Chain`."""
_FOREIGN = {"conv1.weight", "layer1.0.conv1.weight", "fc.weight"}  # every residual network of torchvision and timm has these
_RENAMED = (  # their names -> ours
    (re.compile(r"^conv1\."), "stem.0."),
    (re.compile(r"^bn1\."), "stem.1."),
    (re.compile(r"^layer(\d+)\.(\d+)\."), lambda found: f"stage{found[1]}_block{int(found[2]) + 1}."),
    (re.compile(r"\.downsample\."), ".shortcut."),
    (re.compile(r"^fc\."), HEAD),
)


@dataclass(frozen=True, eq=False)
class Weights:
    """Trained tensors of a network, with what is known about them.

    Attributes:
        source: what the user gave.
        tensors: state dict with this library's names.
        renamed: number of keys that had other names.
        classes: names of the classes of the head; None if not known.
        mean: of the normalisation that they were trained with, per channel; None if not known.
        std: likewise.
        card: of the member of a run; None for a file.
    """

    source: str
    tensors: Mapping[str, Tensor]
    renamed: int = 0
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    card: Mapping[str, Any] | None = None

    def digest(self) -> str:
        """Return a digest of names and values, for the identity of a run."""
        found = hashlib.sha256()
        for name, value in sorted(self.tensors.items()):
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:16]


def read_weights(path: Path) -> Weights:
    """Read a `.safetensors`, `.pt` or `.pth` file; nothing is unpickled but tensors and plain containers.

    Raises:
        UserError: the file is missing, damaged, holds other objects, or no state dict.
    """
    if not path.is_file():
        raise UserError(f"there are no weights {path}; give the folder of a finished run, or a .safetensors, .pt or .pth file")
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        elif path.suffix in (".pt", ".pth"):
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise UserError(f"the weights {path} are no .safetensors, .pt or .pth file; save the network's state_dict as one of them")
    except UserError:
        raise
    except Exception as error:  # whatever the two readers raise for a damaged or hostile file
        raise UserError(
            f"the weights {path} cannot be read ({one_line(error, 80)}); save the network's state_dict alone, as safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"the weights {path} hold no state dict of tensors; save the network's state_dict")
    if not found.keys() >= _FOREIGN:
        return Weights(str(path), dict(found))
    tensors = {rename(name): value for name, value in found.items()}
    return Weights(str(path), tensors, sum(rename(name) != name for name in found), mean=IMAGENET_MEAN, std=IMAGENET_STD)


def rename(name: str) -> str:
    """Translate a key of a residual network of torchvision or timm."""
    for pattern, ours in _RENAMED:
        name = pattern.sub(ours, name)
    return name


@torch.no_grad()
def load_weights(network: nn.Module, weights: Weights, classes: Sequence[str] | None = None) -> str:
    """Load weights into a network, in place; the head of a `Chain` stays new where the classes differ.

    Args:
        network: freshly initialised.
        weights: for it.
        classes: names of the C classes of the network; None if not known.

    Returns:
        One line: what was loaded, renamed, left out and newly initialised.

    Raises:
        UserError: other keys or shapes differ.
    """
    own, given = network.state_dict(), weights.tensors
    head = [name for name in own if isinstance(network, Chain) and name.startswith(HEAD)]
    other_classes = weights.classes is not None and classes is not None and weights.classes != tuple(classes)
    new_head = other_classes or any(name in given and given[name].shape != own[name].shape for name in head)
    left = set(head) if new_head else set()
    counters = {name for name in own if name.endswith("num_batches_tracked") and name not in given}  # old files have none
    missing = sorted(own.keys() - given.keys() - left - counters)
    unexpected = sorted(given.keys() - own.keys())
    shapes = [name for name in own if name in given and name not in left and own[name].shape != given[name].shape]
    if missing or unexpected:
        parts = [f"{len(names)} {word}, as {names[0]}" for word, names in (("missing", missing), ("unknown", unexpected)) if names]
        raise UserError(f"the weights {weights.source} are of another network: keys {'; '.join(parts)}; give the network that they are of")
    if shapes:
        name, theirs, ours = shapes[0], tuple(given[shapes[0]].shape), tuple(own[shapes[0]].shape)
        remedy = "give the network and the stem that they are of, as --student resnet18@large"
        if name == next(iter(own)) and len(ours) == 4 and (theirs[0], *theirs[2:]) == (ours[0], *ours[2:]):
            remedy = f"they take images of {theirs[1]} channels: --channels {theirs[1]}"
        raise UserError(f"the weights {weights.source} do not fit: {name} is {theirs}, the network's {ours}; {remedy}")
    loaded = {name: value for name, value in given.items() if name not in left}
    network.load_state_dict(loaded, strict=False)
    fresh = sorted(left | counters)
    return (
        f"weights of {weights.source}: {len(loaded)} tensors loaded, {weights.renamed} renamed, {len(left & given.keys())} left out, "
        f"newly initialised: {', '.join(fresh[:4]) if fresh else 'none'}{f' and {len(fresh) - 4} more' if len(fresh) > 4 else ''}"
    )
