"""The contract between a method and everything else.

A method says what one batch teaches. Its `step` is a generator of named losses, and every `yield` is one optimiser update:
the trainer adds the losses up, goes backward and steps; a parameter that no loss reached is not touched. So "update only
student k" is "yield a loss that reaches only student k".

Rules (each has a test in the contract suite):
- No context manager spans a `yield`; gradients are on at every `yield`.
- What was computed before a `yield` belongs to the old weights of whatever that update moved.
- A random choice comes from `clock.stream(purpose)`: the same on every rank and after a resume.
- A method sees no optimiser, device, rank or file.
- Every option is an argument of the constructor with a default; `options()` gives back what was passed. A `Literal` option is one of its
  words; what else is wrong with an option the constructor says, by `require`.
- A method whose losses relate or rank the samples of a batch sets `whole_batch`: its batches are never cut. On several ranks it gets a part
  of a batch, and what it needs of the others' samples through `batch.all_gather` and `batch.global_batch`.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.errors import UserError, unknown_name
from studygroup.groups.group import Group
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import check_values, parameters_of

Losses = dict[str, Tensor]
"""`"member/loss"`, or `"group/loss"` for a loss of all members together -> scalar, weighted; the update goes down their sum."""


@dataclass(frozen=True, eq=False)
class StageSpec:
    """One training stage of a method, as far as it differs from the run.

    Attributes:
        name: of the stage and its folder.
        method: what is trained; not built yet.
        network: the student's network by name; None for the run's student.
        epochs: None for as many as the run has.
        constant_learning_rate: whether the learning rate stays at `learning_rate` instead of following the run's schedule.
        learning_rate: of a constant schedule; None for the run's peak.
        teachers: names of the stages whose selected student teaches; `"teacher"` stands for the run's teacher.
        starts_from: the earlier stage whose weights this one starts from; None to start from a fresh initialisation.
    """

    name: str
    method: Method
    network: str | None = None
    epochs: int | None = None
    constant_learning_rate: bool = False
    learning_rate: float | None = None
    teachers: tuple[str, ...] = ("teacher",)
    starts_from: str | None = None


class Method(nn.Module, ABC):
    """What one batch teaches a group.

    Attributes:
        group: the students, made by `assemble`.
        candidates: names of the students that may be deployed: those with the target's network, or those of them that the method means.
        whole_batch: whether a batch must not be cut into parts.
        needs_teacher: whether the method learns from a trained network.
        images_only: why the method cannot learn from texts; empty if it can.
    """

    whole_batch: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    images_only: ClassVar[str] = ""
    group: Group
    candidates: tuple[str, ...]
    _options: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the constructor's arguments for config.yaml; reject values outside a `Literal` or out of range."""
        method = super().__new__(cls)
        nn.Module.__init__(method)  # the constructor of a dataclass sets attributes at once
        bound = inspect.signature(cls).bind(*args, **kwargs)
        bound.apply_defaults()
        method.__dict__["_options"] = dict(bound.arguments)
        check_values(parameters_of(cls), method._options)
        return method

    def __init__(self) -> None:
        """A method without options."""
        super().__init__()

    @abstractmethod
    def build(self, networks: NetworkFactory) -> None:
        """Make the networks. Called once, before anything else.

        Raises:
            UserError: the method cannot work with what `make` gives.
        """

    @abstractmethod
    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """What `batch` teaches: named, weighted losses; every `yield` is one optimiser update."""

    def stages(self) -> list[StageSpec]:
        """List the training stages in order; the last one trains this method.

        Raises:
            UserError: the options do not say what to train.
        """
        return [StageSpec("train", self)]

    def partition(self) -> Partition:
        """How the samples of an epoch are to be dealt to the students."""
        return Partition()

    def learning_rate_scales(self) -> Mapping[str, float]:
        """Factors on the learning rate by member."""
        return {}

    def student_names(self) -> tuple[str, ...]:
        """Names of the group's students: the members that the ensemble and the diversity are made of."""
        return tuple(f"student{k}" for k in range(len(self.group)))

    def extra_members(self) -> Mapping[str, nn.Module]:
        """Trained members beside the group's students, by name."""
        return {}

    def modules_to_save(self) -> Mapping[str, nn.Module]:
        """What is trained beside the members for a later stage to start from, by name; it is saved with the run."""
        return {}

    def members(self) -> tuple[str, ...]:
        """Names of all that is trained and saved, students first."""
        return (*self.student_names(), *self.extra_members())

    def logits(self, inputs: Tensor) -> dict[str, Tensor]:
        """Every member's logits (B, C) on the same inputs (B, ...).

        Further answers may follow under names of their own, such as a gated ensemble's: they are evaluated and reported, no more.
        """
        found = dict(zip(self.student_names(), self.group(inputs), strict=True))
        return found | {name: network(inputs) for name, network in self.extra_members().items()}

    def export(self, member: str) -> nn.Module:
        """A copy of a member as a plain network."""
        if member in self.student_names():
            return self.group.export(self.student_names().index(member))
        if member not in self.extra_members():
            raise unknown_name("member", member, self.members())
        return copy.deepcopy(self.extra_members()[member])

    def parameter_sets(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters by the member that they belong to alone; `"shared"` for those of several or of none."""
        owners: dict[nn.Parameter, str] = {}
        for name in self.members():
            network = self.extra_members()[name] if name in self.extra_members() else self.group[self.student_names().index(name)]
            for parameter in network.parameters():
                owners[parameter] = "shared" if parameter in owners else name
        found: dict[str, list[nn.Parameter]] = {}
        for parameter in self.parameters():
            if parameter.requires_grad:
                found.setdefault(owners.get(parameter, "shared"), []).append(parameter)
        return found

    def options(self) -> dict[str, Any]:
        """The constructor's arguments with their values."""
        return dict(self._options)

    def describe(self) -> dict[str, object]:
        """What the group is, in JSON's types: a run can only be resumed with the same."""
        return self.group.describe()


def require(condition: bool, message: str) -> None:
    """Raise UserError(message) unless `condition` holds."""
    if not condition:
        raise UserError(message)
