"""Weights that a run starts from, and the normalisation that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from studygroup.data import Dataset, Images
from studygroup.errors import UserError
from studygroup.networks.external import TIMM
from studygroup.networks.registry import HUGGING_FACE
from studygroup.networks.weights import Weights, read_weights
from studygroup.runs.member import Run


def open_weights(source: str | None, allow_code: Sequence[str] = ()) -> Weights | None:
    """Read the weights of a finished run's selected student, or a file.

    Args:
        source: folder or file.
        allow_code: import paths of networks that the run's files may name.

    Raises:
        UserError: there are none, or they are damaged.
    """
    if source is None:
        return None
    if source.startswith((TIMM, HUGGING_FACE)):
        remedy = (
            f"give --student {source}" if source.startswith(HUGGING_FACE) else "save its state_dict as .safetensors, and give that file"
        )
        raise UserError(f"the weights {source} are neither the folder of a run nor a file; {remedy}")
    path = Path(source).expanduser()
    if not path.is_dir():
        return read_weights(path)
    member = Run(path, allow_code).best
    mean, std = (tuple(member.inputs.mean), tuple(member.inputs.std)) if isinstance(member.inputs, Images) else (None, None)
    return Weights(source, member.network.state_dict(), classes=tuple(member.classes), mean=mean, std=std, card=member.card)


def with_normalisation(dataset: Dataset, weights: Weights | None) -> Dataset:
    """Return the data with the normalisation of the weights.

    Raises:
        UserError: the images have another number of channels, or texts another vocabulary.
    """
    if weights is None:
        return dataset
    inputs = dataset.inputs
    if not isinstance(inputs, Images):
        mismatch = "a file does not say its vocabulary" if weights.card is None else inputs.mismatch(weights.card)
        if mismatch:
            raise UserError(f"the weights {weights.source} do not fit texts of {dataset.name}: {mismatch}; give a run on texts like these")
        return dataset
    if weights.mean is None or weights.std is None:
        return dataset
    if len(weights.mean) != len(inputs.mean):
        raise UserError(
            f"the weights {weights.source} take images of {len(weights.mean)} channels, {dataset.name} has {len(inputs.mean)}; "
            f"give --channels {len(weights.mean)}"
        )
    return replace(dataset, inputs=replace(inputs, mean=weights.mean, std=weights.std))
