"""What is different about texts, for methods that compare maps of two networks, and for those that cannot take texts.

The texts of a batch are padded to the longest of them, so their maps (B, c, 1, T) come with the positions (B, T) at which there is text,
and are zero elsewhere. What a text teaches must not depend on what else is in its batch: a mean over positions is one over these, text
by text; no connector learns from the others; and maps of different lengths are not pooled to one, because the windows would depend on
the padding.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from studygroup.errors import UserError
from studygroup.methods.method import Method, require
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features


def check_inputs(method: Method, networks: NetworkFactory) -> None:
    """Raise UserError if the method cannot learn from the kind of data that networks are made for."""
    require(
        networks.vocabulary is None or not method.images_only,
        f"the data are texts, but {method.images_only}; take another method, such as kd",
    )


def aligned(student: Features, teacher: Features) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """What is compared with what, position by position: maps of the student and the teacher (B, c, ...), or pooled features (B, d).

    With each pair comes where its texts are (B, T), None for images and for vectors.

    Raises:
        UserError: maps of texts whose lengths differ, or of one network only.
    """
    if not student.maps:
        return [(student.pooled, teacher.pooled, None)]
    for pair in zip(student.masks, teacher.masks, strict=True):
        check_lengths(pair)
    return list(zip(student.maps, teacher.maps, student.masks, strict=True))


def check_lengths(masks: Sequence[Tensor | None]) -> None:
    """Raise UserError unless maps whose texts are at `masks`, (B, T) or None for what has no positions, are of one length."""
    lengths = ["no positions" if mask is None else f"{mask.shape[1]} positions" for mask in masks]
    require(
        len(set(lengths)) == 1,
        f"for the same texts one map has {lengths[0]}, another {next((n for n in lengths if n != lengths[0]), '')}; "
        "name features of the same length with student_layers and teacher_layers",
    )


def check_vectors(*networks: Features) -> None:
    """Raise UserError if maps of texts are watched by a method that embeds a fixed number of values."""
    require(
        all(mask is None for features in networks for mask in features.masks),
        "a map of texts has no fixed number of values to embed; name modules that give a vector for each text, or none for pooled features",
    )


def check_watched(features: Features, places: Sequence[str]) -> None:
    """Raise UserError if what is watched of texts, at `places`, is a map that does not say where the texts are."""
    for place, shown, mask in zip(places, features.maps, features.masks, strict=True):
        if mask is None and shown.dim() > 2:
            raise UserError(
                f"the module {place!r} gives {tuple(shown.shape)} for one text, of which it is not known what is padding; "
                "name one that gives a vector for each text, or take networks of `studygroup list networks`"
            )
