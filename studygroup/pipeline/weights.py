"""Weights that a run starts from, and the normalisation that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from studygroup.data import Dataset, Images
from studygroup.errors import UserError, one_line, unknown_name
from studygroup.methods.method import Method
from studygroup.networks.external import TIMM, pretrained_timm
from studygroup.networks.factory import Spec, build_network
from studygroup.networks.hugging_face import pretrained_weights
from studygroup.networks.registry import HUGGING_FACE
from studygroup.networks.weights import Weights, load_weights, read_weights
from studygroup.options import RunOptions, WeightsOptions
from studygroup.runs.member import Run

TEACHER = "teacher"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A teacher that is not trained further: a network with weights.

    Attributes:
        network: its name.
        weights: of the network.
    """

    network: Spec
    weights: Weights

    def build(self, dataset: Dataset) -> nn.Module:
        """Make the network for the data.

        Raises:
            UserError: the weights are of another network, or of other classes.
        """
        spec, classes = dataset.inputs.spec(), dataset.classes
        network = build_network(
            self.network, num_classes=len(classes), in_channels=spec.in_channels, vocabulary=spec.vocabulary, classes=classes
        )
        load_weights(network, self.weights, classes, keep_head=True)
        return network


def absolute_sources(options: WeightsOptions) -> dict[str, str] | None:
    """Return the sources of weights with absolute paths, by member, as a run records them: it may be resumed from another folder."""
    return {member: _absolute(source) for member, source in options.sources().items()} or None


def _absolute(source: str) -> str:
    if source.startswith(TIMM):
        return source
    prefix = HUGGING_FACE if source.startswith(HUGGING_FACE) else ""
    return prefix + str(Path(source.removeprefix(prefix)).expanduser().absolute())


def open_all(options: RunOptions, method: Method, *, teachers: int) -> dict[str, Weights]:
    """Read the weights of all members: `student0`, `student1`, ..., and `teacher`.

    Args:
        options: of the run.
        method: of the run; it may call its teacher by another name.
        teachers: number of teachers that the run trains or makes; weights can be given for one.

    Raises:
        UserError: there are none, they are damaged, or there is no such member.
    """
    sources = options.sources()
    if method.teacher_name in sources:
        sources[TEACHER] = sources.pop(method.teacher_name)
    for member, source in sources.items():
        if member == TEACHER and teachers != 1:
            if teachers:
                raise UserError(f"weights {source} are given for one of {teachers} teachers; train it first, and give its run as a teacher")
            raise UserError(
                f"weights {source} are given for the teacher, but no --teacher NETWORK that they are of; give it, or leave them out"
            )
        if member != TEACHER and not (member.startswith("student") and member.removeprefix("student").isdecimal()):
            raise unknown_name("member to load weights into", member, ["student0", "student1", TEACHER])
    return {member: open_weights(source, options.allow_code) for member, source in sources.items()}


def open_weights(source: str, allow_code: Sequence[str] = ()) -> Weights:
    """Read the weights of a finished run's selected student, a file, or a model of another library.

    Args:
        source: folder or file.
        allow_code: import paths of networks that the run's files may name.

    Raises:
        UserError: there are none, or they are damaged.
    """
    if source.startswith(HUGGING_FACE):
        tensors, classes = pretrained_weights(source.removeprefix(HUGGING_FACE))
        return Weights(source, tensors, classes)
    if source.startswith(TIMM):
        network, known = pretrained_timm(source.removeprefix(TIMM))
        return Weights(source, network.state_dict(), **known)
    path = Path(source).expanduser()
    if not path.is_dir():
        return read_weights(path)
    member = Run(path, allow_code).best
    mean, std = (tuple(member.inputs.mean), tuple(member.inputs.std)) if isinstance(member.inputs, Images) else (None, None)
    return Weights(source, member.network.state_dict(), tuple(member.classes), mean, std, member.card)


def check_apart(options: WeightsOptions, out: Path) -> None:
    """Check that no weights are in the folder that the run is written to.

    Raises:
        UserError: they are: to overwrite the folder would delete them.
    """
    for source in options.sources().values():
        if not source.startswith(TIMM) and Path(source.removeprefix(HUGGING_FACE)).resolve().is_relative_to(out.resolve()):
            raise UserError(f"the weights {source} are in {out}, which would be overwritten; give another --out")


def with_normalisation(dataset: Dataset, given: Mapping[str, Weights]) -> Dataset:
    """Return the data with the normalisation of the weights.

    Args:
        dataset: of the run.
        given: by member.

    Raises:
        UserError: the images have another number of channels, texts another vocabulary, or weights differ in their normalisation.
    """
    first: Weights | None = None
    for weights in given.values():
        inputs = dataset.inputs
        if not isinstance(inputs, Images):
            _check_texts(dataset, weights)
        elif weights.mean is not None and weights.std is not None:
            if len(weights.mean) != len(inputs.mean):
                raise UserError(
                    f"the weights {weights.source} take images of {len(weights.mean)} channels, {dataset.name} has {len(inputs.mean)}; "
                    f"give --channels {len(weights.mean)}"
                )
            if first is not None and (weights.mean, weights.std) != (first.mean, first.std):
                raise UserError(
                    f"the weights {first.source} and {weights.source} are of images that are normalised differently, and a run has one "
                    "normalisation; give weights that were trained alike"
                )
            first = weights
            dataset = replace(dataset, inputs=replace(inputs, mean=weights.mean, std=weights.std))
    return dataset


def _check_texts(dataset: Dataset, weights: Weights) -> None:
    if weights.source.startswith(HUGGING_FACE):
        return  # the student's tokenizer is that of its folder, and the shape of the embedding is checked when it is loaded
    mismatch = "a file without a card does not say its vocabulary" if weights.card is None else _mismatch(dataset, weights.card)
    if mismatch:
        raise UserError(f"the weights {weights.source} do not fit texts of {dataset.name}: {mismatch}; give a run on texts like these")


def _mismatch(dataset: Dataset, card: Mapping[str, Any]) -> str | None:
    try:
        return dataset.inputs.mismatch(card)
    except (KeyError, TypeError, ValueError) as error:
        return f"their card is damaged ({one_line(error)})"
