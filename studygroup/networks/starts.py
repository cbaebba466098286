"""What the networks of a run start from: weights that are loaded, parts that are frozen, and what is said about it.

Every parameter carries its origin, as it carries `requires_grad`. So what a student starts from can be said of any group, also of one
whose students share modules, and optimizers know which parameters were loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from studygroup.errors import UserError, unknown_name
from studygroup.networks.chain import Chain
from studygroup.networks.weights import Weights, head_names

_ORIGIN = "studygroup_origin"  # attribute of a parameter
NOTHING, ALL_BUT_HEAD = "none", "all-but-head"  # of `freeze`


@dataclass(frozen=True)
class Origin:
    """Where the initial value of a parameter is from.

    Attributes:
        text: in words.
        is_trained: whether it is from a training, and not drawn anew.
    """

    text: str
    is_trained: bool = False


@dataclass(frozen=True, eq=False)
class Start:
    """What the students of a stage start from.

    Attributes:
        weights: by student: `student0`, `student1`, ...
        members: `own`: each student that is given no weights has an initialisation of its own; `same`: all students of the same network
            start as the first.
        freeze: part of the networks that is not trained: `none`, `all-but-head`, or a stage and all before it. Only of
            networks that start from trained weights.
    """

    weights: Mapping[str, Weights] = field(default_factory=dict)
    members: Literal["own", "same"] = "own"
    freeze: str = NOTHING

    def digests(self) -> dict[str, str]:
        """Return the digests of the weights, for the identity of a run."""
        return {role: weights.digest() for role, weights in self.weights.items()}


def mark(parameters: Iterable[nn.Parameter], origin: Origin) -> None:
    """Set the origin of parameters."""
    for parameter in parameters:
        setattr(parameter, _ORIGIN, origin)


def initialised(network: nn.Module, name: str) -> nn.Module:
    """Return a network; raise UserError if the shapes of some of its parameters are not known before it runs."""
    lazy = next((path for path, value in (*network.named_parameters(), *network.named_buffers()) if is_lazy(value)), None)
    if lazy is not None:
        raise UserError(
            f"{name} has lazy modules: the shape of {lazy} is known only once it has run; give its modules their sizes, or run the network "
            "once where it is made"
        )
    return network


def origin_of(parameter: nn.Parameter) -> Origin:
    """Return the origin of a parameter; a new initialisation if none was set."""
    found = getattr(parameter, _ORIGIN, None)
    return found if isinstance(found, Origin) else Origin("its own initialisation")


def is_trained(parameter: nn.Parameter) -> bool:
    """Return whether the initial value of a parameter is from a training."""
    return origin_of(parameter).is_trained


def describe_start(module: nn.Module) -> str:
    """Say in words what the parameters of a module start from, with shares if it is more than one thing."""
    counts: Counter[str] = Counter()
    for parameter in module.parameters():
        counts[origin_of(parameter).text] += parameter.numel()
    if len(counts) < 2:
        return next(iter(counts), "no parameters")
    return ", ".join(f"{text} ({100 * count / counts.total():.3g}%)" for text, count in counts.most_common())


class FrozenBatchNorm(nn.Module):
    """A batch norm whose statistics and weights stay as they are, in training too. Its `state_dict` has the names of a batch norm's."""

    def __init__(self, norm: _BatchNorm) -> None:
        """Take parameters and buffers of a batch norm with running statistics."""
        super().__init__()
        self.eps = norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, C, ...). Returns: the same shape."""
        mean, var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return torch.nn.functional.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)


def freeze(network: nn.Module, part: str, name: str) -> None:
    """Exclude a part of a network from training, in place: its parameters need no gradient, its batch norms keep their statistics.

    Args:
        network: to be trained.
        part: `all-but-head`, or a stage of a `Chain`, which is frozen together with all before it.
        name: of the network, for messages.

    Raises:
        UserError: the network has no such stage, or it is not known which part is its head.
    """
    if part == ALL_BUT_HEAD:
        head = head_names(network)
        if not head:
            raise UserError(f"freeze is {part}, but the head of {name} is not known; freeze its parameters in Python (requires_grad)")
        frozen = [key for key in network.state_dict() if key not in head]
    else:
        if not isinstance(network, Chain):
            raise UserError(f"freeze is {part!r}, but {name} has no stages; give {ALL_BUT_HEAD}")
        stages = [stage for stage in network.stages if stage != "head"]
        if part not in stages:
            raise unknown_name(f"stage of {name} to freeze", part, [*stages, ALL_BUT_HEAD])
        blocks = {block for stage in stages[: stages.index(part) + 1] for block in network.stages[stage]}
        frozen = [key for key in network.state_dict() if key.partition(".")[0] in blocks]
    names = set(frozen)
    for key, parameter in network.named_parameters():
        if key in names:
            parameter.requires_grad_(False)
    for path, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm) and module.track_running_stats and f"{path}.running_mean" in names:
            parent, _, attribute = path.rpartition(".")
            setattr(network.get_submodule(parent), attribute, FrozenBatchNorm(module))


def reinitialise(network: nn.Module) -> None:
    """Reset the parameters of all submodules, from torch's current random state.

    Raises:
        UserError: a submodule has no `reset_parameters`.
    """
    for name, module in network.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        reset = getattr(module, "reset_parameters", None)
        if reset is None:
            raise UserError(
                f"a copy of the given network must be reinitialised, but its module {name!r} has no reset_parameters(); "
                "give a function that makes the network"
            )
        reset()
