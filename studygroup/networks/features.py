"""What a network computes on its way to the logits: the form in which feature methods see any network.

A chain is seen at the end of every stage but its head; any other network at the modules that are named. Forward hooks watch
one ordinary call of the network, and are removed afterwards.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from studygroup.errors import UserError, unknown_name
from studygroup.networks.chain import Chain
from studygroup.networks.padded import Padded, maps, masked

ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
FRESH = 0  # version of a tensor that nothing has changed in place


@dataclass(frozen=True)
class Features:
    """What one call of a network showed, with gradient if the call had it, in the precision of the call.

    Attributes:
        maps: f0, f1, ...: what came out at each position, after its activation; for images (B, c, h, w), for texts (B, d, 1, T), zero
            where there is no text.
        pre: at the same positions, before the activation: what went into it, if the map came out of an activation module; what
            the next normalisation made of the map, if that is what first took it (networks with pre-activation); else the map.
        classified: (B, d), the classifier's input, or why it is not known.
        logits: (B, C).
        masks: at the same positions, for texts (B, T) bool, where there is text (`padded.of_maps`); None for images.
    """

    maps: tuple[Tensor, ...]
    pre: tuple[Tensor, ...]
    classified: Tensor | str
    logits: Tensor
    masks: tuple[Tensor | None, ...] = ()

    @property
    def pooled(self) -> Tensor:
        """(B, d), the classifier's input.

        Raises:
            UserError: it is not known.
        """
        if isinstance(self.classified, str):
            raise UserError(self.classified)
        return self.classified


def extract_features(
    network: nn.Module, inputs: Tensor, positions: Sequence[str] | None = None, *, classifier: str | None = None
) -> Features:
    """Call a network once and see what it computes.

    A network that is compiled as a whole runs uncompiled here.

    Args:
        network: (B, ...) -> logits (B, C).
        inputs: (B, ...).
        positions: paths of modules (as in `named_modules`) whose outputs are the maps, in the order in which they are to be
            returned; a chain's stages go by their names, too. By default all stages of a chain but its embedding and head. May be
            empty. A module that runs several times is seen the last time.
        classifier: path of the module whose input is the pooled feature; by default a chain's block `classifier`, and the `nn.Linear`
            that ran last of any other network.

    Raises:
        UserError: a path is wrong (the nearest are offered), its module did not run or gives no tensor, or the network is no
            chain and no positions are given.
    """
    paths = feature_layers(network, positions)
    if classifier is None and isinstance(network, Chain) and "classifier" in network.blocks():
        classifier = "classifier"
    watch = _Watch({path: _module(network, path) for path in paths}, _module(network, classifier) if classifier is not None else None)
    with watch.watching(network), _uncompiled():
        logits = network(inputs)
    if not isinstance(logits, Tensor):
        raise UserError(f"{type(network).__name__} gives a {type(logits).__name__}; it must give a tensor of logits")
    classified = watch.found(type(network).__name__)
    found, pre = (tuple(seen[path] for path in paths) for seen in (watch.maps, watch.pre))
    return Features(found, pre, classified, logits, tuple(watch.masks.get(path) for path in paths))


def feature_layers(network: nn.Module, positions: Sequence[str] | None = None) -> list[str]:
    """The paths of the modules whose outputs are a network's maps f0, f1, ...; arguments and errors as `observe`."""
    ends = network.ends() if isinstance(network, Chain) else {}
    if positions is None:
        if not ends:
            raise UserError(
                f"{type(network).__name__} is no chain of blocks, so the maps to learn from must be named: "
                f"give the paths of modules, such as {', '.join(name for name, _ in network.named_children())}"
            )
        return list(ends.values())
    return [ends.get(position, position) for position in positions]


def head_of(network: nn.Module) -> tuple[str, nn.Sequential]:
    """Where the map that is pooled comes from, and what turns it into logits: for methods that put another map in its place.

    Args:
        network: a chain.

    Returns:
        The position of that map for `observe` (of a wide residual network it is behind the last batch norm and ReLU, of MobileNetV2
        behind the last convolution), and the pool and the classifier as one module, which shares the network's parameters. It takes what
        the pool takes: maps of images, `Padded` vectors of texts (`padded.of_maps` makes them of maps).

    Raises:
        UserError: the network is no chain.
    """
    if not isinstance(network, Chain):
        raise UserError(f"{type(network).__name__} is no chain of blocks, so its head is not known; take one of `studygroup list networks`")
    blocks = list(network.blocks().items())
    names = [name for name, _ in blocks]
    start = names.index("pool" if "pool" in network.stages["head"] else network.stages["head"][0])
    return names[start - 1], nn.Sequential(OrderedDict(blocks[start:]))


class _Watch:
    """Collects what hooks see during one call.

    A map is handed on as a copy, and so is what goes into an activation that works in place: whatever follows may change what it
    gets, and not what was seen. Which activation a map came out of, and which normalisation takes it next, is told by the
    tensors themselves, as long as nothing has changed them in between.
    """

    def __init__(self, positions: Mapping[str, nn.Module], classifier: nn.Module | None) -> None:
        self.positions = positions
        self.classifier = classifier
        self.maps: dict[str, Tensor] = {}
        self.pre: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}  # of texts
        self.handed_on: dict[str, Tensor] = {}  # copies of the maps that came out of no activation
        self.before: Tensor | None = None  # what went into the last activation that ran, and what came out
        self.after: tuple[Tensor, int] | None = None
        self.pooled: Tensor | None = None

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """The hooks are there inside."""
        with ExitStack() as hooks:
            for module in network.modules():
                if isinstance(module, ACTIVATIONS):
                    hooks.callback(module.register_forward_pre_hook(self.enter_activation).remove)
                    hooks.callback(module.register_forward_hook(self.leave_activation).remove)
                if isinstance(module, NORMS):
                    hooks.callback(module.register_forward_hook(self.leave_norm).remove)
                if module is self.classifier or (self.classifier is None and isinstance(module, nn.Linear)):
                    hooks.callback(module.register_forward_pre_hook(self.enter_classifier).remove)
            for path, module in self.positions.items():
                hooks.callback(module.register_forward_hook(partial(self.leave_position, path)).remove)
            yield

    def enter_activation(self, module: nn.Module, args: tuple[Any, ...]) -> Tensor | None:
        self.before = args[0] if args else None
        if self.before is None:  # given by name: not to be seen from here
            return None
        return self.before.clone() if getattr(module, "inplace", False) else None

    def leave_activation(self, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self.after = (output, _version(output))

    def leave_norm(self, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        for path, copy in self.handed_on.items():
            if args and args[0] is copy and _version(copy) == FRESH:
                mask = self.masks.get(path)
                self.pre[path] = output if mask is None else maps(masked(output, mask))
                del self.handed_on[path]
                return output.clone()
        return None

    def leave_position(self, path: str, module: nn.Module, args: tuple[Any, ...], output: object) -> Tensor | Padded:
        if isinstance(output, Padded):
            self.masks[path] = output.mask
            copy = self.leave_map(path, output.values)
            self.maps[path], self.pre[path] = (maps(Padded(seen[path], output.mask)) for seen in (self.maps, self.pre))
            return Padded(copy, output.mask)
        if not isinstance(output, Tensor):
            raise UserError(f"the module {path!r} gives a {type(output).__name__}, not a tensor; take another position")
        return self.leave_map(path, output)

    def leave_map(self, path: str, output: Tensor) -> Tensor:
        copy = output.clone()
        self.maps[path] = output
        if self.before is not None and self.after is not None and output is self.after[0] and _version(output) == self.after[1]:
            self.pre[path], self.after = self.before, (copy, FRESH)
        else:
            self.pre[path] = output
            self.handed_on[path] = copy
        return copy

    def enter_classifier(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self.pooled = args[0]

    def found(self, name: str) -> Tensor | str:
        """The pooled feature (b, d), or why it is not known; UserError if a map of the network, called `name`, was not seen."""
        for path in self.positions:
            if path not in self.maps:
                raise UserError(f"the module {path!r} of {name} did not run; take another position")
        if self.pooled is None:
            missing = "no linear layer ran" if self.classifier is None else "the classifier that was named did not run"
            return f"the pooled feature of {name} is not known: {missing}; name the module that takes it, or watch one that gives it"
        pooled = self.pooled
        if pooled.dim() > 2 and pooled.shape[2:].numel() == 1:
            pooled = pooled.flatten(1)
        if pooled.dim() != 2:
            return (
                f"the classifier of {name} takes {tuple(pooled.shape)}, not (B, d); name the module that takes the pooled feature, "
                "or watch one that gives it"
            )
        return pooled


def _module(network: nn.Module, path: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(network.named_modules(remove_duplicate=False))
    if path not in known:
        stages = network.ends() if isinstance(network, Chain) else ()
        raise unknown_name(f"module of {type(network).__name__}", path, {*stages, *known} - {""})
    return known[path]


def _version(tensor: Tensor) -> int:
    """How often a tensor has been changed in place; tensors of inference mode do not count."""
    return FRESH if tensor.is_inference() else tensor._version


def _uncompiled() -> AbstractContextManager[object]:
    """Runs compiled modules as they are written: compiled code does not know of hooks that came after it."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
