"""Feature extraction from any network, by forward hooks during one call.

The feature maps of a chain are the outputs of its stages; those of any other network are the outputs of the modules that are named.
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
from studygroup.networks.padded import Padded, masked, to_maps

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
UNCHANGED = 0  # version of a tensor that was not changed in-place


@dataclass(frozen=True)
class Features:
    """The features and logits of one call of a network, with gradient unless it is disabled.

    Attributes:
        maps: f0, f1, ...: the output of each layer, after its activation: images (B, c, h, w), texts (B, d, 1, T), zero at padding.
        pre: the maps before their activation: its input, if the map is the output of an activation module; the output of the
            next normalisation, if that takes the map first (networks with pre-activation); else the map.
        classified: (B, d), the classifier's input, or why it is not known.
        logits: (B, C).
        masks: for each layer (B, T) bool, False at padding (see `padded.from_maps`); None for images.

    Example:
        >>> import torch
        >>> from studygroup import networks
        >>> features = networks.extract_features(networks.create("resnet8", num_classes=10), torch.zeros(2, 3, 32, 32))
        >>> features.pooled.shape, features.logits.shape
        (torch.Size([2, 64]), torch.Size([2, 10]))
    """

    maps: tuple[Tensor, ...]
    pre: tuple[Tensor, ...]
    classified: Tensor | str
    logits: Tensor
    masks: tuple[Tensor | None, ...] = ()

    @property
    def pooled(self) -> Tensor:
        """Return the classifier's input, (B, d).

        Raises:
            UserError: it is not known.
        """
        if isinstance(self.classified, str):
            raise UserError(self.classified)
        return self.classified


def extract_features(network: nn.Module, inputs: Tensor, layers: Sequence[str] | None = None, *, classifier: str | None = None) -> Features:
    """Call a network once and return its features and logits. A compiled network runs uncompiled.

    Args:
        network: (B, ...) -> logits (B, C).
        inputs: (B, ...).
        layers: paths of the modules (as in `named_modules`) or stages of a chain whose outputs are the maps; perhaps none. By default
            all stages of a chain but its embedding and head. Of a module that runs several times, the last output is returned.
        classifier: path of the module whose input is the pooled feature; by default a chain's block `classifier`, or the last
            `nn.Linear` that another network runs.

    Raises:
        UserError: a path is unknown (the nearest are offered), its module did not run or does not return a tensor, or the network
            is no chain and no layers are given.

    Example:
        >>> import torch
        >>> from studygroup import networks
        >>> features = networks.extract_features(networks.create("resnet8", num_classes=10), torch.zeros(2, 3, 32, 32))
        >>> [tuple(maps.shape) for maps in features.maps]
        [(2, 16, 32, 32), (2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
    """
    paths = feature_layers(network, layers)
    if classifier is None and isinstance(network, Chain) and "classifier" in network.blocks():
        classifier = "classifier"
    collector = _FeatureCollector(
        {path: _module(network, path) for path in paths}, _module(network, classifier) if classifier is not None else None
    )
    with collector.attached(network), _uncompiled():
        logits = network(inputs)
    if not isinstance(logits, Tensor):
        raise UserError(f"{type(network).__name__} returns a {type(logits).__name__}; it must return a tensor of logits")
    classified = collector.classifier_input(type(network).__name__)
    maps, pre = (tuple(collected[path] for path in paths) for collected in (collector.maps, collector.pre))
    return Features(maps, pre, classified, logits, tuple(collector.masks.get(path) for path in paths))


def feature_layers(network: nn.Module, layers: Sequence[str] | None = None) -> list[str]:
    """Return the paths of the modules whose outputs are the maps f0, f1, ...; arguments and errors as `extract_features`.

    Example:
        >>> import torch
        >>> from studygroup import networks
        >>> networks.feature_layers(networks.create("resnet8", num_classes=10), ["stage1", "stage3"])
        ['stage1_block1', 'stage3_block1']
    """
    blocks = network.last_blocks() if isinstance(network, Chain) else {}
    if layers is None:
        if not blocks:
            raise UserError(
                f"{type(network).__name__} is no chain of blocks, so name its feature layers: "
                f"give the paths of modules, such as {', '.join(name for name, _ in network.named_children())}"
            )
        return list(blocks.values())
    return [blocks.get(layer, layer) for layer in layers]


def head_of(network: nn.Module) -> tuple[str, nn.Sequential]:
    """Return the layer whose output is pooled, and pool and classifier as one module, for methods that replace that output.

    Args:
        network: a chain.

    Returns:
        The layer for `extract_features` (in a wide residual network, it ends in the last batch norm and ReLU, in MobileNetV2 in the last
        convolution), and a module that shares the network's parameters: maps, or `Padded` for texts (`padded.from_maps`) -> logits.

    Raises:
        UserError: the network is no chain.

    Example:
        >>> import torch
        >>> from studygroup import networks
        >>> layer, head = networks.head_of(networks.create("resnet8", num_classes=10))
        >>> layer, head(torch.zeros(2, 64, 8, 8)).shape
        ('stage3_block1', torch.Size([2, 10]))
    """
    if not isinstance(network, Chain):
        raise UserError(f"{type(network).__name__} is no chain of blocks, so its head is not known; use one of `studygroup list networks`")
    blocks = list(network.blocks().items())
    names = [name for name, _ in blocks]
    start = names.index("pool" if "pool" in network.stages["head"] else network.stages["head"][0])
    return names[start - 1], nn.Sequential(OrderedDict(blocks[start:]))


class _FeatureCollector:
    """Collects the outputs of modules by forward hooks during one call.

    The next module gets a copy of each map, and so does an in-place activation of its input: in-place operations must not change what
    was collected. The activation that output a map, and the normalisation that takes it next, are identified by the tensors, as long
    as nothing has changed them in-place.
    """

    def __init__(self, layers: Mapping[str, nn.Module], classifier: nn.Module | None) -> None:
        self.layers = layers
        self.classifier = classifier
        self.maps: dict[str, Tensor] = {}
        self.pre: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}  # of texts
        self.copies: dict[str, Tensor] = {}  # of the maps that no activation output, as the next module gets them
        self.activation_input: Tensor | None = None  # of the last activation that ran
        self.activation_output: tuple[Tensor, int] | None = None  # and its version
        self.pooled: Tensor | None = None

    @contextmanager
    def attached(self, network: nn.Module) -> Iterator[None]:
        """Register the hooks, and remove them at the end."""
        with ExitStack() as hooks:
            for module in network.modules():
                if isinstance(module, ACTIVATIONS):
                    hooks.callback(module.register_forward_pre_hook(self.before_activation).remove)
                    hooks.callback(module.register_forward_hook(self.after_activation).remove)
                if isinstance(module, NORMS):
                    hooks.callback(module.register_forward_hook(self.after_norm).remove)
                if module is self.classifier or (self.classifier is None and isinstance(module, nn.Linear)):
                    hooks.callback(module.register_forward_pre_hook(self.before_classifier).remove)
            for path, module in self.layers.items():
                hooks.callback(module.register_forward_hook(partial(self.after_layer, path)).remove)
            yield

    def before_activation(self, module: nn.Module, args: tuple[Any, ...]) -> Tensor | None:
        self.activation_input = args[0] if args else None
        if self.activation_input is None:  # a keyword argument, which this hook does not get
            return None
        return self.activation_input.clone() if getattr(module, "inplace", False) else None

    def after_activation(self, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self.activation_output = (output, _version(output))

    def after_norm(self, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        for path, copy in self.copies.items():
            if args and args[0] is copy and _version(copy) == UNCHANGED:
                mask = self.masks.get(path)
                self.pre[path] = output if mask is None else to_maps(masked(output, mask))
                del self.copies[path]
                return output.clone()
        return None

    def after_layer(self, path: str, module: nn.Module, args: tuple[Any, ...], output: object) -> Tensor | Padded:
        if isinstance(output, Padded):
            self.masks[path] = output.mask
            copy = self.collect_map(path, output.values)
            self.maps[path], self.pre[path] = (to_maps(Padded(found[path], output.mask)) for found in (self.maps, self.pre))
            return Padded(copy, output.mask)
        if not isinstance(output, Tensor):
            raise UserError(f"the module {path!r} returns a {type(output).__name__}, not a tensor; use another layer")
        return self.collect_map(path, output)

    def collect_map(self, path: str, output: Tensor) -> Tensor:
        copy = output.clone()
        self.maps[path] = output
        activated, version = self.activation_output or (None, None)
        if self.activation_input is not None and output is activated and _version(output) == version:
            self.pre[path], self.activation_output = self.activation_input, (copy, UNCHANGED)
        else:
            self.pre[path] = output
            self.copies[path] = copy
        return copy

    def before_classifier(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self.pooled = args[0]

    def classifier_input(self, name: str) -> Tensor | str:
        """Return the pooled feature (b, d), or why it is not known; raise `UserError` if a layer of the network `name` did not run."""
        for path in self.layers:
            if path not in self.maps:
                raise UserError(f"the module {path!r} of {name} did not run; use another layer")
        if self.pooled is None:
            reason = "no linear layer ran" if self.classifier is None else "the given classifier did not run"
            return f"the pooled feature of {name} is not known: {reason}; name the module that takes it, or a layer that outputs it"
        pooled = self.pooled
        if pooled.dim() > 2 and pooled.shape[2:].numel() == 1:
            pooled = pooled.flatten(1)
        if pooled.dim() != 2:
            return (
                f"the classifier of {name} takes {tuple(pooled.shape)}, not (B, d); name the module that takes the pooled feature, "
                "or a layer that outputs it"
            )
        return pooled


def _module(network: nn.Module, path: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(network.named_modules(remove_duplicate=False))
    if path not in known:
        stages = network.last_blocks() if isinstance(network, Chain) else ()
        raise unknown_name(f"module of {type(network).__name__}", path, {*stages, *known} - {""})
    return known[path]


def _version(tensor: Tensor) -> int:
    """Return how often a tensor was changed in-place; inference tensors do not count this."""
    return UNCHANGED if tensor.is_inference() else tensor._version


def _uncompiled() -> AbstractContextManager[object]:
    """Return a context in which compiled modules run uncompiled: compiled code ignores hooks that were registered later."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
