"""Makes the networks of a run, each from its own random stream."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from studygroup import randomness
from studygroup.errors import UserError, one_line
from studygroup.networks import external
from studygroup.networks.registry import HUGGING_FACE, SMALLEST_MAP, Stem, create, full_name, misfit, reads_texts

Spec = str | nn.Module | Callable[..., nn.Module]
ModuleT = TypeVar("ModuleT", bound=nn.Module)
UNFIT = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)  # what a network may raise about inputs that it is not made for


def spec_name(spec: Spec) -> str:
    """How a run's files call a network: its registered name with its stem or options, another name with a colon, or its class."""
    if isinstance(spec, str):
        return spec
    target = type(spec) if isinstance(spec, nn.Module) else spec
    return f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', repr(target))}"


def build_network(spec: Spec, *, num_classes: int, in_channels: int | None = None, vocabulary: int | None = None) -> nn.Module:
    """A new network from a name, `package.module:function`, a function or class, or a module (which is copied).

    Functions and classes are called with `num_classes`, and `in_channels` or `vocabulary`, if they have arguments of these names.

    Args:
        spec: what to make it from. A name is one of `studygroup list networks`, perhaps with a stem (`resnet18@large`) or options
            (`transformer@depth=6`), or `timm:NAME` or `hf:FOLDER`.
        num_classes: C.
        in_channels: channels of the images, if the data are images.
        vocabulary: number of ids, if the data are texts. One of the two is given.

    Raises:
        UserError: the name is unknown, the network reads images and the data are texts or the other way round, or the function cannot
            be imported or gives no `nn.Module`.
    """
    if (in_channels is None) == (vocabulary is None):
        raise UserError(f"in_channels is {in_channels}, vocabulary {vocabulary}; give one of them: the data are images or texts")
    texts = vocabulary is not None
    if isinstance(spec, nn.Module):
        return copy.deepcopy(spec)
    if isinstance(spec, str) and ":" not in spec:
        if reads_texts(spec) != texts:
            raise misfit(spec, texts=texts)
        return create(spec, num_classes, vocabulary=vocabulary) if in_channels is None else create(spec, num_classes, in_channels)
    name = spec_name(spec)
    if isinstance(spec, str):
        spec = external.function(spec)
    known = inspect.signature(spec).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    given = {"num_classes": num_classes} | ({"vocabulary": vocabulary} if vocabulary is not None else {"in_channels": in_channels})
    for other in {"in_channels", "vocabulary"} - set(given):
        if other in known and known[other].default is inspect.Parameter.empty:
            raise misfit(name, texts=texts)
    network = spec(**{name: value for name, value in given.items() if takes_all or name in known})
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} gave a {type(network).__name__}; it must return a torch.nn.Module")
    return network


def with_stem(spec: Spec, stem: Stem | Literal["auto"], size: int = SMALLEST_MAP) -> Spec:
    """A network with a stem for images of `size` pixels, or a network of texts by its one name (`full_name`); others as they are.

    Raises:
        UserError: the network is unknown, or does not have the stem or the options that were asked for.
    """
    if isinstance(spec, str) and ":" not in spec:
        return full_name(spec, stem, size)
    if stem != "auto":
        raise UserError(
            f"{spec_name(spec)} has no stem {stem!r}, only its own; leave stem out, or ask for it by the name of a network that has it, "
            "as in resnet18@large"
        )
    if isinstance(spec, str) and spec.startswith(HUGGING_FACE):
        return HUGGING_FACE + str(Path(spec.removeprefix(HUGGING_FACE)).expanduser().resolve())  # runs are read from elsewhere, too
    return spec


@torch.no_grad()
def try_out(spec: Spec, inputs: Tensor, *, num_classes: int, vocabulary: int | None = None) -> None:
    """Make a network and show it some inputs, so that what cannot work is said before anything is trained.

    Args:
        spec: what to make it from.
        inputs: as in training: images (b, channels, ...), or ids (b, T).
        num_classes: C.
        vocabulary: number of ids, if the inputs are texts.

    Raises:
        UserError: the network cannot be made, cannot take the inputs (too small images, other channels, too long texts), or gives no
            logits (b, C).
    """
    name, shape = spec_name(spec), "x".join(map(str, inputs.shape[1:]))
    if vocabulary is None:
        what, remedy = f"inputs of {shape}", "take another image_size, or another network"
    else:
        what, remedy = f"texts of {shape} tokens", "cut texts shorter, or take another network"
    with torch.random.fork_rng(devices=[]):
        network = build_network(
            spec, num_classes=num_classes, in_channels=inputs.shape[1] if vocabulary is None else None, vocabulary=vocabulary
        )
        modes = {module: module.training for module in network.modules()}
        device = next((parameter.device for parameter in network.parameters()), inputs.device)
        try:
            logits = network.eval()(inputs.to(device))
        except UNFIT as error:
            raise UserError(f"{name} cannot take {what} ({one_line(error)}); {remedy}") from error
        finally:
            for module, mode in modes.items():
                module.training = mode
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != (len(inputs), num_classes):
        raise UserError(
            f"{name} gives {found} for {len(inputs)} inputs and {num_classes} classes; it must give logits {(len(inputs), num_classes)}"
        )


def is_fresh(text: str) -> bool:
    """Whether what a text names is a network without training: `hf:FOLDER` is not, and `package.module:function` may well load weights."""
    return ":" not in text or text.startswith(external.TIMM)


class NetworkFactory:
    """Makes students; the k-th copy is a function of the seed and k only, whatever else is made.

    Copies of a network that comes with weights: of a module, copy 0 has them, and all others begin anew; of `hf:FOLDER`, all keep the
    pretrained body, and what reads it, the classifier, is new for all but copy 0, which has the folder's if there is one that fits. For
    students that start alike have nothing to teach each other.

    Attributes:
        target: the network to deploy.
        peers: networks of students 1, 2, ... if they differ from the target's.
        teachers: trained networks; the first is the teacher of a method that has one only.
        teacher: that one, or None.
        teacher_spec: what it was made from.
        num_classes: C.
        in_channels: channels of the images; None if the data are texts.
        image_size: height and width of the images.
        vocabulary: number of ids of the texts; None if the data are images.
        seed: of the initialisations and of what a method draws once (routes).
        labels: (N,) int64, the classes of the training samples, by the positions that `Batch.indices` names; None if they are not known.
    """

    def __init__(
        self,
        target: Spec,
        *,
        num_classes: int,
        in_channels: int | None = None,
        image_size: tuple[int, int] = (32, 32),
        vocabulary: int | None = None,
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
        self.vocabulary = vocabulary
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

    def extra_module(self, name: str, build: Callable[[], ModuleT]) -> ModuleT:
        """What a method trains beside networks (a gate, a projection), initialised from a stream of its own.

        Args:
            name: distinguishes it from the method's other parts.
            build: makes it.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derive_seed(self.seed, "initialisation", name))
            return build()

    def example(self) -> Tensor:
        """One input, to find out by a forward pass how wide a network is inside: zeros (1, C, H, W), or ids (1, 8), all 1."""
        if self.in_channels is None:
            return torch.ones(1, 8, dtype=torch.int64)
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
            torch.manual_seed(randomness.derive_seed(self.seed, "initialisation", number))
            network = build_network(spec, num_classes=self.num_classes, in_channels=self.in_channels, vocabulary=self.vocabulary)
            if number > 0 and isinstance(spec, nn.Module):
                _reinitialise(network)
            elif number > 0 and isinstance(network, external.SequenceClassifier):
                network.renew()
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
