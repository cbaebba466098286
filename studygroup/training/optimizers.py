"""The optimizer of a method's parameters, and what sharded members need of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.distributed.context import DistContext
from studygroup.errors import unknown_name
from studygroup.methods.method import Method
from studygroup.networks.starts import is_trained
from studygroup.training.settings import Settings

ParameterSets = dict[str, list[nn.Parameter]]
"""Trainable parameters by the member that owns them; `"shared"` for those of several members or of none."""


def build_optimizer(settings: Settings, sets: ParameterSets, method: Method) -> torch.optim.Optimizer:
    """Build the optimizer with one parameter group per member, each with its learning rate factor as `scale`.

    Without `decay_norm_bias`, the vectors of a member (weights of norms, biases) are a group of their own, without weight decay; with
    `trained_rate_scale`, so are the parameters that start from trained weights, with a lower learning rate.

    Raises:
        UserError: a factor is given for a member that the method does not have.
    """
    given = settings.learning_rate_scales or {}
    for member in given:
        if member not in sets:
            raise unknown_name("member in learning_rate_scales", member, sets)
    scales = {**method.learning_rate_scales(), **given}
    groups: list[dict[str, Any]] = [{"params": parameters, "scale": scales.get(name, 1.0)} for name, parameters in sets.items()]
    if settings.trained_rate_scale != 1:
        groups = [part for group in groups for part in split_trained(group, settings.trained_rate_scale)]
    if not settings.decay_norm_bias:
        groups = [part for group in groups for part in split_vectors(group)]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=decay)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, rate, weight_decay=decay)
    return torch.optim.AdamW(groups, rate, weight_decay=decay)


def split_vectors(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Split a parameter group into its matrices and kernels, and its vectors without weight decay (He et al., arXiv:1812.01187, 3.1)."""
    return split(group, lambda parameter: parameter.ndim <= 1, weight_decay=0.0)


def split_trained(group: Mapping[str, Any], factor: float) -> list[dict[str, Any]]:
    """Split a parameter group into new parameters, and those that start from trained weights, with `factor` on their learning rate."""
    return split(group, is_trained, scale=group["scale"] * factor)


def split(group: Mapping[str, Any], is_other: Callable[[nn.Parameter], bool], **values: float) -> list[dict[str, Any]]:
    """Split a parameter group; return the parts that are not empty, the second with other values."""
    others = [parameter for parameter in group["params"] if is_other(parameter)]
    kept = [parameter for parameter in group["params"] if not is_other(parameter)]
    return [part for part in ({**group, "params": kept}, {**group, "params": others, **values}) if part["params"]]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all groups, each times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]


def sync_optimizer_state(optimizer: torch.optim.Optimizer, sets: ParameterSets, students: tuple[str, ...], ranks: DistContext) -> None:
    """Broadcast the optimizer state of each student from the rank that trains it."""
    for k, name in enumerate(students):
        owner = ranks.owner(k, len(students))
        states = [optimizer.state[parameter] for parameter in sets.get(name, [])]
        shapes = [{key: list(value.shape) for key, value in state.items() if isinstance(value, Tensor)} for state in states]
        owned = ranks.all_gather_object(shapes)[owner]
        for parameter, state, known in zip(sets.get(name, []), states, owned, strict=True):
            for key, shape in known.items():
                like = parameter.detach() if shape == list(parameter.shape) else torch.zeros(shape)
                state.setdefault(key, torch.zeros_like(like))
            ranks.broadcast([state[key] for key in known], owner)


def clip_grad_norm(sets: ParameterSets, largest: float, students: tuple[str, ...], ranks: DistContext) -> None:
    """Scale the gradients down to a joint norm of `largest` if it is larger, on all ranks alike.

    Args:
        sets: all trainable parameters.
        largest: maximum norm.
        students: names of the students, which different ranks may own.
        ranks: the processes that train together.
    """
    parameters = [parameter for own in sets.values() for parameter in own]
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    if not ranks.is_distributed or ranks.shard != "members":
        torch.nn.utils.clip_grad_norm_(moved, largest)
        return
    # Every rank has the gradients of its own students, and those that no student owns, which rank 0 counts.
    own = {name for k, name in enumerate(students) if ranks.owner(k, len(students)) == ranks.rank}
    counted = [
        parameter.grad
        for name, members in sets.items()
        for parameter in members
        if parameter.grad is not None and (name in own or (name not in students and ranks.rank == 0))
    ]
    zero = torch.zeros((), device=parameters[0].device, dtype=torch.float64)  # a rank may have no gradient at all
    square = zero + sum(gradient.square().sum() for gradient in counted)
    ranks.all_reduce([square])
    torch.nn.utils.clip_grads_with_norm_(moved, largest, square.sqrt())
