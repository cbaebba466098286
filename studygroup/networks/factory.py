"""Makes the networks of a run, each with its own random initialisation."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from studygroup import randomness
from studygroup.errors import UserError, one_line, unknown_name
from studygroup.foreign import is_import_path
from studygroup.networks import external
from studygroup.networks.hugging_face import SequenceClassifier
from studygroup.networks.registry import (
    HUGGING_FACE,
    SMALLEST_MAP,
    Stem,
    call_factory,
    canonical_name,
    create,
    reads_texts,
    requires,
    wrong_data_error,
)
from studygroup.networks.starts import NOTHING, Origin, Start, freeze, initialised, is_trained, mark, reinitialise
from studygroup.networks.weights import load_weights

Spec = str | nn.Module | Callable[..., nn.Module]
ModuleT = TypeVar("ModuleT", bound=nn.Module)
NO_START = Start()
INPUT_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)  # that a network may raise for inputs of the wrong shape


def spec_name(spec: Spec) -> str:
    """Return the name of a network in a run's files: the given name, or the import path of its class or function."""
    if isinstance(spec, str):
        return spec
    target = type(spec) if isinstance(spec, nn.Module) else spec
    return f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', repr(target))}"


def build_network(
    spec: Spec,
    *,
    num_classes: int,
    in_channels: int | None = None,
    vocabulary: int | None = None,
    classes: Sequence[str] | None = None,
    is_teacher: bool = False,
) -> nn.Module:
    """Make a new network from a name, `package.module:function`, a function or class, or a module (which is copied).

    Functions and classes are called with `num_classes`, and `in_channels` or `vocabulary`, if they have arguments of these names.

    Args:
        spec: a name of `studygroup list networks`, perhaps with a stem (`resnet18@large`) or options (`transformer@depth=6`),
            `timm:NAME`, `hf:FOLDER`, or one of the above.
        num_classes: C.
        in_channels: channels of the images; None if the data are texts.
        vocabulary: vocabulary size of the texts; None if the data are images.
        classes: names of the C classes, by which those of `hf:FOLDER` are matched.
        is_teacher: refuse a model `hf:FOLDER` whose classifier is not trained.

    Raises:
        UserError: the name is unknown, the network does not read this kind of data, or the function cannot be imported or returns no
            `nn.Module`.
    """
    if (in_channels is None) == (vocabulary is None):
        raise UserError(f"in_channels is {in_channels}, vocabulary {vocabulary}; give one of them: the data are images or texts")
    texts = vocabulary is not None
    if isinstance(spec, nn.Module):
        return copy.deepcopy(initialised(spec, spec_name(spec)))
    if isinstance(spec, str) and ":" not in spec:
        if reads_texts(spec) != texts:
            raise wrong_data_error(spec, texts=texts)
        return create(spec, num_classes, vocabulary=vocabulary) if in_channels is None else create(spec, num_classes, in_channels)
    name, factory = spec_name(spec), external.import_factory(spec) if isinstance(spec, str) else spec
    if isinstance(spec, str) and spec.startswith(HUGGING_FACE):
        factory = partial(factory, classes=classes, is_teacher=is_teacher)
    if requires(factory, "in_channels" if texts else "vocabulary"):
        raise wrong_data_error(name, texts=texts)
    return initialised(call_factory(factory, name, num_classes=num_classes, in_channels=in_channels, vocabulary=vocabulary), name)


def resolve_spec(spec: Spec, stem: Stem | Literal["auto"], size: int = SMALLEST_MAP) -> Spec:
    """Return a network's `canonical_name` with a stem for images of `size` pixels; the folder of `hf:FOLDER` becomes absolute.

    Raises:
        UserError: the network is unknown, or does not have the stem or the options.
    """
    if isinstance(spec, str) and ":" not in spec:
        return canonical_name(spec, stem, size)
    if stem != "auto":
        raise UserError(
            f"{spec_name(spec)} has no stem {stem!r}, only its own; leave stem out, or use the name of a network that has it, "
            "as in resnet18@large"
        )
    if isinstance(spec, str) and spec.startswith(HUGGING_FACE):
        return HUGGING_FACE + str(
            Path(spec.removeprefix(HUGGING_FACE)).expanduser().resolve()
        )  # the run may be read from another directory
    return spec


@torch.no_grad()
def check_network(
    spec: Spec,
    inputs: Tensor,
    *,
    num_classes: int,
    vocabulary: int | None = None,
    classes: Sequence[str] | None = None,
    is_teacher: bool = False,
) -> None:
    """Make a network and run it on some inputs, so that errors come before training; warn of what was assumed at loading.

    Args:
        spec: as in `build_network`.
        inputs: as in training: images (b, channels, ...) or token ids (b, T).
        num_classes: C.
        vocabulary: vocabulary size, if the inputs are texts.
        classes: as in `build_network`.
        is_teacher: as in `build_network`.

    Raises:
        UserError: the network cannot be made, fails on the inputs (images too small, wrong channels, texts too long), or does not return
            logits (b, C).
    """
    name, shape = spec_name(spec), "x".join(map(str, inputs.shape[1:]))
    if vocabulary is None:
        label, remedy = f"inputs of {shape}", "use another image_size, or another network"
    else:
        label, remedy = f"texts of {shape} tokens", "use a smaller max_length, or another network"
    with torch.random.fork_rng(devices=[]):
        network = build_network(
            spec,
            num_classes=num_classes,
            in_channels=inputs.shape[1] if vocabulary is None else None,
            vocabulary=vocabulary,
            classes=classes,
            is_teacher=is_teacher,
        )
        modes = {module: module.training for module in network.modules()}
        device = next((parameter.device for parameter in network.parameters()), inputs.device)
        try:
            logits = network.eval()(inputs.to(device))
        except INPUT_ERRORS as error:
            raise UserError(f"{name} fails on {label} ({one_line(error)}); {remedy}") from error
        finally:
            for module, mode in modes.items():
                module.training = mode
    output = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if output != (len(inputs), num_classes):
        raise UserError(
            f"{name} returns {output} for {len(inputs)} inputs and {num_classes} classes; it must return {(len(inputs), num_classes)}"
        )
    if classes is not None and isinstance(network, SequenceClassifier):
        for note in network.notes:
            warnings.warn(note, stacklevel=2)


def numbered(name: str, number: int) -> str:
    """Return the name of the `number`-th of its kind, from 1: `teacher`, `teacher2`, `teacher3`, ..."""
    return f"{name}{number if number > 1 else ''}"


def is_untrained(name: str) -> bool:
    """Return whether a network is freshly initialised; `hf:FOLDER` is trained, and `package.module:function` may load weights."""
    return ":" not in name or name.startswith(external.TIMM)


class NetworkFactory:
    """Makes the students of a method; the initialisation of copy k depends on the seed and k only.

    Students that start from equal weights have nothing to teach each other. So if the network has weights, only copy 0 keeps all of them:
    further copies of a module are reinitialised, and those of `hf:FOLDER` keep the pretrained base model, but not the classifier; unless
    `start.members` is `same`: then all students of the target network are copies of student 0.

    Attributes:
        target: the network to deploy.
        peers: networks of students 1, 2, ..., if they differ from the target.
        teachers: trained networks; the first is that of a method with a single teacher.
        teacher: the first of them, or None.
        teacher_spec: its specification.
        num_classes: C.
        in_channels: channels of the images; None if the data are texts.
        image_size: height and width of the images.
        vocabulary: vocabulary size of the texts; None if the data are images.
        seed: of the initialisations and of what a method draws once (routes).
        labels: (N,) int64, the classes of the training samples, indexed by `Batch.indices`; None if not known.
        unlabelled: number of samples without labels, whose `Batch.indices` follow those of the training samples.
        holdout_accuracy: returns the accuracy of a network on the hold-out set, in [0, 1]; None if it is not measured.
        classes: names of the C classes, by which those of `hf:FOLDER` are matched; None if not known.
        dropout: probability of the dropout of all students; None for the networks' own.
        start: weights that students start from, and what of them is frozen.
        lines: what was loaded into each student that started from weights.
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
        unlabelled: int = 0,
        holdout_accuracy: Callable[[nn.Module], float] | None = None,
        classes: Sequence[str] | None = None,
        dropout: float | None = None,
        start: Start = NO_START,
    ) -> None:
        self.start = start
        self.lines: dict[str, str] = {}
        self._froze = False
        self.dropout = dropout
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
        self.unlabelled = unlabelled
        self.holdout_accuracy = holdout_accuracy
        self.classes = classes

    def code(self) -> list[str]:
        """Return the import paths of the given networks; their names in cards are allowed to be imported again."""
        specs = (self.target, *self.peers, self.teacher_spec)
        return [name for spec in specs if spec is not None and is_import_path(name := spec_name(spec))]

    def spec(self, number: int) -> Spec:
        """Return the specification of a student's network.

        Raises:
            UserError: there are peers, but fewer than other students.
        """
        if number == 0 or not self.peers:
            return self.target
        if number > len(self.peers):
            raise UserError(
                f"student {number} has no network: {len(self.peers)} peers are given; give one for each student but the first, or none"
            )
        return self.peers[number - 1]

    def copy(self, number: int) -> nn.Module:
        """Return the target network in its `number`-th initialisation; weights are loaded into the first."""
        return self._make(self.target, number, "student0" if number == 0 else None)

    def student(self, number: int) -> nn.Module:
        """Return the initialised network of a student."""
        return self._make(self.spec(number), number, f"student{number}")

    def students(self, count: int) -> list[nn.Module]:
        """Return the initialised networks of `count` students.

        Raises:
            UserError: there are peers, but not as many as other students.
        """
        if self.peers and len(self.peers) != count - 1:
            raise UserError(f"{count} students, but {len(self.peers)} peers; give {count - 1}, one for each student but the first")
        return [self.student(number) for number in range(count)]

    def trained(self, number: int = 0) -> nn.Module:
        """Return a copy of teacher `number`, which the method may change.

        Raises:
            UserError: there is no such teacher.
        """
        if not self.teachers:
            raise UserError("the method needs a trained network; give a teacher")
        if number >= len(self.teachers):
            raise UserError(f"there is no teacher {number}: {len(self.teachers)} were given")
        network = copy.deepcopy(self.teachers[number])
        mark(network.parameters(), Origin("the teacher's weights", is_trained=True))
        return network

    def extra_module(self, name: str, build: Callable[[], ModuleT]) -> ModuleT:
        """Make a module that a method trains beside the networks (a gate, a projection), with its own random stream.

        Args:
            name: distinguishes it from the method's other modules.
            build: makes it.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derive_seed(self.seed, "initialisation", name))
            return build()

    def example(self) -> Tensor:
        """Return an example input, to find the widths of a network by a forward pass: zeros (1, C, H, W), or token ids (1, 8), all 1."""
        if self.in_channels is None:
            return torch.ones(1, 8, dtype=torch.int64)
        return torch.zeros(1, self.in_channels, *self.image_size)

    def training_labels(self) -> Tensor:
        """Return the classes (N,) of the training samples, for methods that keep a memory of samples or draw from them.

        Raises:
            UserError: they are not known.
        """
        if self.labels is None:
            raise UserError("the method needs the classes of all training samples; give NetworkFactory their labels")
        return self.labels

    def is_target(self, number: int) -> bool:
        """Return whether a student has the network to deploy."""
        return self.spec(number) == self.target  # not by spec_name: two modules of one class may differ

    def check_start(self, students: Sequence[str]) -> None:
        """Check that all weights were loaded into a student, and that what is to be frozen was there; after `Method.build`.

        Args:
            students: names of the group's students.

        Raises:
            UserError: they were not.
        """
        unused = [role for role in self.start.weights if role not in self.lines]
        if unused and unused[0] in students:
            raise UserError(f"{unused[0]} shares modules with student0 and takes no weights of its own; give weights for student0 only")
        if unused:
            raise unknown_name("student to load weights into", unused[0], students)
        if self.start.freeze != NOTHING and not self._froze:
            raise UserError(
                f"freeze is {self.start.freeze}, but no student starts from trained weights; give --weights, or leave freeze out"
            )

    def _make(self, spec: Spec, number: int, role: str | None) -> nn.Module:
        same = self.start.members == "same" and spec == self.target
        if same and role not in self.start.weights:
            number, role = 0, "student0"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derive_seed(self.seed, "initialisation", number))
            network = build_network(
                spec, num_classes=self.num_classes, in_channels=self.in_channels, vocabulary=self.vocabulary, classes=self.classes
            )
            if number > 0 and isinstance(spec, nn.Module):
                reinitialise(network)
            elif number > 0 and isinstance(network, SequenceClassifier):
                network.reinitialise()
        self._mark(network, spec, number)
        if role is not None and role in self.start.weights:
            self._load(network, role)
        if self.dropout is not None:
            set_dropout(network, self.dropout, spec_name(spec))
        if self.start.freeze != NOTHING and any(map(is_trained, network.parameters())):
            freeze(network, self.start.freeze, spec_name(spec))
            self._froze = True
        return network

    def _mark(self, network: nn.Module, spec: Spec, number: int) -> None:
        """Set what copy `number` of a network starts from, before weights are loaded."""
        fresh = Origin(f"initialisation {number} of seed {self.seed}")
        if isinstance(spec, nn.Module):
            origin = Origin("the weights of the given module", is_trained=True) if number == 0 else fresh
        elif isinstance(spec, str):
            origin = fresh if is_untrained(spec) else Origin(f"the weights of {spec}", is_trained=True)
        else:
            origin = Origin(f"what {spec_name(spec)} returns", is_trained=True)
        new = network.new if isinstance(network, SequenceClassifier) else frozenset[str]()
        for name, parameter in network.named_parameters():
            mark([parameter], fresh if name in new else origin)

    def _load(self, network: nn.Module, role: str) -> None:
        weights = self.start.weights[role]
        loaded = load_weights(network, weights, self.classes)
        origin = Origin(f"weights of {weights.source}", is_trained=True)
        mark((parameter for name, parameter in network.named_parameters() if name in loaded.names), origin)
        self.lines[role] = loaded.line


def set_dropout(network: nn.Module, probability: float, name: str) -> None:
    """Set the probability of all dropout modules of a network.

    Raises:
        UserError: it has none.
    """
    layers = [module for module in network.modules() if isinstance(module, _DropoutNd)]
    if not layers:
        raise UserError(f"dropout is {probability:g}, but {name} has no dropout; leave it out, or take a network that has, as transformer")
    for layer in layers:
        layer.p = probability
