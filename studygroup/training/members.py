"""What a run evaluates, selects and saves: a method's members, and averages of its candidates' weights.

An average of the weights along the training is often better than the last weights, above all while the learning rate is high
(Polyak and Juditsky, 1992; as an exponential moving average: Tarvainen and Valpola, NeurIPS 2017, arXiv:1703.01780):

    average <- d average + (1 - d) weights    after each step n = 1, 2, ..., with d = min(decay, (1 + n) / (10 + n))

The decay is small at first, so that the initialisation is soon forgotten. Running statistics of batch norm are averaged like weights, whole
numbers are copied. What students share (a trunk, the modules of routes) is averaged once and shared by their averages, too. Nothing is
learned from the average: all other members have the bits that they have without it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.groups.group import Group
from studygroup.methods.method import Method

PREFIX = "ema_"
"""Of the name of an average; the rest is the name of the member."""


class Members:
    """The members of a method, and those of its average if there is one."""

    def __init__(self, method: Method, decay: float = 0.0) -> None:
        """Start the average at the current weights.

        Args:
            method: built, on its device.
            decay: of the average, in (0, 1); 0 for no average.
        """
        self.method = method
        self.average = WeightAverage(method, decay) if decay else None

    def names(self) -> tuple[str, ...]:
        """Return the names of all members, students first."""
        return (*self.method.members(), *self._averages())

    @property
    def candidates(self) -> tuple[str, ...]:
        """Return the names of the members that may be deployed."""
        return (*self.method.candidates, *self._averages())

    def _averages(self) -> tuple[str, ...]:
        return () if self.average is None else tuple(PREFIX + name for name in self.method.candidates)

    def averaged(self, name: str) -> str | None:
        """Return the member of which `name` is the average; None if it is none."""
        return name.removeprefix(PREFIX) if name in self._averages() else None

    def update(self, step: int) -> None:
        """Average the weights after a training step, counted from 1."""
        if self.average is not None:
            self.average.update(step)

    def logits(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return every member's logits (B, C), as `Method.logits`."""
        found = self.method.logits(inputs)
        if self.average is not None:
            averages = self.average.method.logits(inputs)
            found |= {PREFIX + name: averages[name] for name in self.method.candidates}
        return found

    def export(self, name: str) -> nn.Module:
        """Return a copy of a member as a plain network."""
        member = self.averaged(name)
        if member is None or self.average is None:
            return self.method.export(name)
        return self.average.method.export(member)

    def groups(self) -> list[Group]:
        """Return the groups whose students may live on different ranks."""
        return [self.method.group, *([] if self.average is None else [self.average.method.group])]

    def state(self) -> dict[str, Any] | None:
        """Return the average's state for a checkpoint."""
        return None if self.average is None else {name: module.state_dict() for name, module in self.average.modules.items()}

    def load_state(self, state: Mapping[str, Any] | None) -> None:
        """Load what `state` returned."""
        if self.average is not None and state is not None:
            for name, module in self.average.modules.items():
                module.load_state_dict(state[name])


class WeightAverage:
    """Exponential moving average of a method's members.

    Attributes:
        method: a copy of the method in eval mode, whose members have the averaged weights; what is no member is not copied.
        modules: the copied group and further members.
    """

    def __init__(self, method: Method, decay: float) -> None:
        """Copy the members. Args: method: built, on its device. decay: in (0, 1)."""
        self.decay = decay
        members = member_modules(method)
        own = {module for member in members.values() for module in member.modules()}
        shared: list[object] = [child for child in method.children() if own.isdisjoint(child.modules())]
        shared += [*method.buffers(recurse=False), method.group.ranks]
        self.method = copy.deepcopy(method, {id(thing): thing for thing in shared}).eval()
        self.modules = member_modules(self.method)
        self._floats: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._others: tuple[list[Tensor], list[Tensor]] = ([], [])
        seen: set[int] = set()
        for name, member in members.items():
            for source, target in zip(_tensors(member), _tensors(self.modules[name].requires_grad_(False)), strict=True):
                kind = self._floats if source.is_floating_point() else self._others
                if id(target) not in seen:
                    seen.add(id(target))
                    kind[0].append(target)
                    kind[1].append(source)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average the weights after a training step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = self._floats
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 1 - decay)
        for copied, value in zip(*self._others, strict=True):
            copied.copy_(value)


def member_modules(method: Method) -> dict[str, nn.Module]:
    """Return the group and the further members of a built method."""
    return {"group": method.group, **method.extra_members()}


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
