"""Makes the networks of a run, each from its own random stream."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from studygroup import randomness
from studygroup.errors import UserError, in_short
from studygroup.networks import external
from studygroup.networks.registry import SMALLEST_MAP, Stem, create, full_name

Spec = str | nn.Module | Callable[..., nn.Module]
Part = TypeVar("Part", bound=nn.Module)
UNFIT = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)  # what a network may raise about inputs that it is not made for


def spec_name(spec: Spec) -> str:
    """How a run's files call a network: its registered name with its stem, `timm:NAME`, `package.module:function`, or its class."""
    if isinstance(spec, str):
        return spec
    target = type(spec) if isinstance(spec, nn.Module) else spec
    return f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', repr(target))}"


def build(spec: Spec, *, num_classes: int, in_channels: int) -> nn.Module:
    """A new network from a name, `package.module:function`, a function or class, or a module (which is copied).

    Functions and classes are called with `num_classes` and `in_channels` if they have arguments of these names.

    Args:
        spec: what to make it from. A name is one of `studygroup list networks`, perhaps with a stem (`resnet18@large`), or
            `timm:NAME`.
        num_classes: C.
        in_channels: channels of the inputs.

    Raises:
        UserError: the name is unknown, or the function cannot be imported or gives no `nn.Module`.
    """
    if isinstance(spec, nn.Module):
        return copy.deepcopy(spec)
    if isinstance(spec, str) and ":" not in spec:
        return create(spec, num_classes=num_classes, in_channels=in_channels)
    name = spec_name(spec)
    if isinstance(spec, str):
        spec = external.function(spec)
    known = inspect.signature(spec).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    given = {"num_classes": num_classes, "in_channels": in_channels}
    network = spec(**{name: value for name, value in given.items() if takes_all or name in known})
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} gave a {type(network).__name__}; it must return a torch.nn.Module")
    return network


def with_stem(spec: Spec, stem: Stem | Literal["auto"], size: int = SMALLEST_MAP) -> Spec:
    """A network with a stem for images of `size` pixels (`full_name`); one that has no name of ours is taken as it is.

    Raises:
        UserError: the network is unknown, or does not have the stem that was asked for.
    """
    if isinstance(spec, str) and ":" not in spec:
        return full_name(spec, stem, size)
    if stem != "auto":
        raise UserError(
            f"{spec_name(spec)} has no stem {stem!r}, only its own; leave stem out, or ask for it by the name of a network that has it, "
            "as in resnet18@large"
        )
    return spec


@torch.no_grad()
def try_out(spec: Spec, inputs: Tensor, *, num_classes: int) -> None:
    """Make a network and show it some inputs, so that what cannot work is said before anything is trained.

    Args:
        spec: what to make it from.
        inputs: (b, channels, ...), as in training.
        num_classes: C.

    Raises:
        UserError: the network cannot be made, cannot take the inputs (too small images, other channels), or gives no logits (b, C).
    """
    name, shape = spec_name(spec), "x".join(map(str, inputs.shape[1:]))
    with torch.random.fork_rng(devices=[]):
        network = build(spec, num_classes=num_classes, in_channels=inputs.shape[1])
        modes = {module: module.training for module in network.modules()}
        device = next((parameter.device for parameter in network.parameters()), inputs.device)
        try:
            logits = network.eval()(inputs.to(device))
        except UNFIT as error:
            raise UserError(
                f"{name} cannot take inputs of {shape} ({in_short(error)}); take another image_size, or another network"
            ) from error
        finally:
            for module, mode in modes.items():
                module.training = mode
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != (len(inputs), num_classes):
        raise UserError(
            f"{name} gives {found} for {len(inputs)} inputs and {num_classes} classes; it must give logits {(len(inputs), num_classes)}"
        )


def is_fresh(text: str) -> bool:
    """Whether what a text names is a network without training: all but `package.module:function`, which may well load weights."""
    return ":" not in text or text.startswith(external.TIMM)


class Maker:
    """Makes students; the k-th copy is a function of the seed and k only, whatever else is made.

    Attributes:
        target: the network to deploy.
        peers: networks of students 1, 2, ... if they differ from the target's.
        teachers: trained networks; the first is the teacher of a method that has one only.
        teacher: that one, or None.
        teacher_spec: what it was made from.
        num_classes: C.
        in_channels: channels of the inputs.
        image_size: height and width of the inputs.
        seed: of the initialisations and of what a method draws once (routes).
        labels: (N,) int64, the classes of the training samples, by the positions that `Batch.indices` names; None if they are not known.
    """

    def __init__(
        self,
        target: Spec,
        *,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int] = (32, 32),
        seed: int = 0,
        peers: Sequence[Spec] = (),
        teacher: nn.Module | None = None,
        teacher_spec: Spec | None = None,
        more_teachers: Sequence[nn.Module] = (),
        labels: Tensor | None = None,
    ) -> None:
        self.target = target
        self.peers = tuple(peers)
        self.teachers = (*([] if teacher is None else [teacher]), *more_teachers)
        self.teacher = teacher
        self.teacher_spec = teacher_spec if teacher_spec is not None else teacher
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.image_size = image_size
        self.seed = seed
        self.labels = labels

    def spec(self, number: int) -> Spec:
        """What student `number` is made from.

        Raises:
            UserError: peers were given, but not as many as there are other students.
        """
        if number == 0 or not self.peers:
            return self.target
        if number > len(self.peers):
            raise UserError(
                f"student {number} has no network: {len(self.peers)} peers are given; give one for each student but the first, or none"
            )
        return self.peers[number - 1]

    def copy(self, number: int) -> nn.Module:
        """The target network in its `number`-th initialisation."""
        return self._make(self.target, number)

    def student(self, number: int) -> nn.Module:
        """The network of student `number`, initialised."""
        return self._make(self.spec(number), number)

    def students(self, count: int) -> list[nn.Module]:
        """The networks of `count` students.

        Raises:
            UserError: peers were given, but not as many as there are other students.
        """
        if self.peers and len(self.peers) != count - 1:
            raise UserError(
                f"{count} students, but {len(self.peers)} peers are given; give {count - 1}, one for each student but the first"
            )
        return [self.student(number) for number in range(count)]

    def trained(self, number: int = 0) -> nn.Module:
        """A copy of teacher `number`: whatever a method does with it, the network that was given stays as it is.

        Raises:
            UserError: no such teacher was given.
        """
        if not self.teachers:
            raise UserError("the method learns from a trained network and none was given; give a teacher")
        if number >= len(self.teachers):
            raise UserError(f"there is no teacher {number}: {len(self.teachers)} were given")
        return copy.deepcopy(self.teachers[number])

    def part(self, name: str, build: Callable[[], Part]) -> Part:
        """What a method trains beside networks (a gate, a projection), initialised from a stream of its own.

        Args:
            name: distinguishes it from the method's other parts.
            build: makes it.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derive(self.seed, "initialisation", name))
            return build()

    def example(self) -> Tensor:
        """One input of zeros (1, C, H, W), to find out by a forward pass how wide a network is inside."""
        return torch.zeros(1, self.in_channels, *self.image_size)

    def training_labels(self) -> Tensor:
        """Classes (N,) of the training samples, for methods that remember samples or choose among them.

        Raises:
            UserError: they are not known.
        """
        if self.labels is None:
            raise UserError("the method has to know the classes of all training samples; give Maker their labels")
        return self.labels

    def is_target(self, number: int) -> bool:
        """Whether student `number` has the network that is to be deployed."""
        return self.spec(number) == self.target  # not by spec_name: two modules of one class may differ

    def _make(self, spec: Spec, number: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derive(self.seed, "initialisation", number))
            network = build(spec, num_classes=self.num_classes, in_channels=self.in_channels)
            if isinstance(spec, nn.Module) and number > 0:
                _reinitialise(network)
        return network


def _reinitialise(network: nn.Module) -> None:
    """Fresh weights for a copy of a given module; students that start from the same weights have nothing to teach each other."""
    for name, module in network.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        reset = getattr(module, "reset_parameters", None)
        if reset is None:
            raise UserError(
                f"a copy of the given network needs fresh weights, but its part {name!r} has no reset_parameters(); "
                "give a function that makes the network"
            )
        reset()
