"""The contract between a method and everything else.

A method defines what one batch teaches. Its `step` is a generator of named losses, and every `yield` is one optimiser update: the trainer
sums the losses, runs the backward pass and steps; parameters without a gradient are skipped. So "update only student k" is "yield a loss
that reaches only student k". `WithMetrics(losses, metrics)` yields numbers beside the losses for `metrics.jsonl`.

Rules (each has a test in the contract suite):
- No context manager spans a `yield`; gradients are enabled at every `yield`.
- What was computed before a `yield` belongs to the weights before that update.
- Random choices use `clock.generator(purpose)`: the same on every rank and after a resume.
- A method sees no optimiser, device, rank or file.
- A method is a dataclass, `@dataclass(eq=False, kw_only=True)`; its options are fields declared by `studygroup.parameters.option`.
  Checks of several options together, and what is derived from them, are in `__post_init__`.
- Batches of a method with `whole_batch`, whose losses relate or rank their samples, are never split. On several ranks it gets a shard, and
  the other ranks' samples through `batch.all_gather` and `batch.global_batch`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.errors import require as require
from studygroup.errors import unknown_name
from studygroup.groups.group import Group
from studygroup.methods.recorded import Recorded
from studygroup.methods.stage_spec import StageSpec as StageSpec
from studygroup.methods.yields import Losses as Losses
from studygroup.methods.yields import WithMetrics as WithMetrics
from studygroup.networks.factory import NetworkFactory


class Method(Recorded, ABC):
    """A group of students and what one batch teaches them.

    Attributes:
        group: the students, made by `build`.
        candidates: names of the students that may be deployed: those with the target's network, or those of them that are preferred.
        needs_teacher: whether the method learns from a trained network, which it calls `teacher_name`.
        several_teachers: whether it can learn from several.
        takes_unlabelled: whether some loss needs no labels, and the others are cross-entropies of `batch.targets`, which leave them out.
        images_only: why the method cannot learn from texts; empty if it can.
        hands_over: what is deployed unless the run says otherwise.

    Example:
        >>> import studygroup as sg
        >>> sg.CGL(students=0)
        Traceback (most recent call last):
            ...
        studygroup.errors.UserError: students is 0; it must be at least 1 and at most 1,000
    """

    needs_teacher: ClassVar[bool] = False
    several_teachers: ClassVar[bool] = False
    teacher_name: ClassVar[str] = "teacher"
    takes_unlabelled: ClassVar[bool] = False
    images_only: ClassVar[str] = ""
    hands_over: ClassVar[Literal["selected", "soup"]] = "selected"
    group: Group
    candidates: tuple[str, ...]

    @property
    def whole_batch(self) -> bool:
        """Return whether a batch must not be split; a class may set `whole_batch = True` instead."""
        return False

    def needs_all_labels(self) -> str:
        """Return why, with these options, all samples need labels although the method takes some without; empty if they do not."""
        return ""

    @abstractmethod
    def build(self, networks: NetworkFactory) -> None:
        """Create the networks, once, before anything else; raise UserError if the method cannot work with them."""

    @abstractmethod
    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Yield named, weighted losses on `batch`; every `yield` is one optimiser update."""

    def after_step(self, clock: Clock) -> None:
        """Change weights otherwise than by gradients, once after the updates of a step, whatever number of parts its batch had."""

    def stages(self) -> list[StageSpec]:
        """List the training stages in order, this method's last; raise UserError if the options do not define them."""
        return [StageSpec("train", self)]

    def partition(self) -> Partition:
        """Return how the samples of an epoch are partitioned among the students."""
        return Partition()

    def learning_rate_scales(self) -> Mapping[str, float]:
        """Return factors on the learning rate by member."""
        return {}

    def student_names(self) -> tuple[str, ...]:
        """Return the names of the group's students: the members of the ensemble and of the diversity measures."""
        return tuple(f"student{k}" for k in range(len(self.group)))

    def extra_members(self) -> Mapping[str, nn.Module]:
        """Return trained members beside the group's students, by name."""
        return {}

    def modules_to_save(self) -> Mapping[str, nn.Module]:
        """Return modules beside the members that a later stage starts from, by name; they are saved with the run."""
        return {}

    def members(self) -> tuple[str, ...]:
        """Return the names of all that is trained and saved, students first."""
        return (*self.student_names(), *self.extra_members())

    def logits(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return every member's logits (B, C) on inputs (B, ...); others may follow, such as an ensemble's, which are only reported."""
        found = dict(zip(self.student_names(), self.group(inputs), strict=True))
        return found | {name: network(inputs) for name, network in self.extra_members().items()}

    def export(self, member: str) -> nn.Module:
        """Return a copy of a member as a plain network."""
        if member in self.student_names():
            return self.group.export(self.student_names().index(member))
        if member not in self.extra_members():
            raise unknown_name("member", member, self.members())
        return copy.deepcopy(self.extra_members()[member])

    def parameter_sets(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that are trained by the member that alone has them; `"shared"` for those of several or of none."""
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

    def taught_by(self) -> Mapping[str, Mapping[str, float]]:
        """Return what results and cards record of several teachers, by name: `teacher`, `teacher2`, ..."""
        return {}

    def describe(self) -> dict[str, object]:
        """Return what identifies the group, in JSON's types: a run can only be resumed with the same."""
        return self.group.describe()
