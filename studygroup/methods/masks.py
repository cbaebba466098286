"""Checks and pairs for texts, for methods that compare maps of two networks, and for those that cannot take texts.

The texts of a batch are padded to the longest of them, so their maps (B, c, 1, T) come with masks (B, T) of the positions that hold text,
and are zero elsewhere. The loss on a text must not depend on the other texts of its batch: means are over the text's own positions;
connectors work position by position; and maps of different lengths are not pooled to one length, because the windows would depend on the
padding.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from studygroup.errors import UserError
from studygroup.methods.method import Method, require
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features


def check_inputs(method: Method, networks: NetworkFactory) -> None:
    """Raise UserError if the method cannot learn from the kind of data that the networks take."""
    require(
        networks.vocabulary is None or not method.images_only,
        f"the data are texts, but {method.images_only}; use another method, such as kd",
    )


def masked_pairs(student: Features, teacher: Features) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Pair maps (B, c, ...) of student and teacher or, without layers, their pooled features (B, d), each pair with its mask.

    Returns:
        student's features, teacher's, mask (B, T) of the positions of texts; None for images and vectors.

    Raises:
        UserError: maps of texts whose lengths differ, or of one network only.
    """
    if not student.maps:
        return [(student.pooled, teacher.pooled, None)]
    for pair in zip(student.masks, teacher.masks, strict=True):
        check_lengths(pair)
    return list(zip(student.maps, teacher.maps, student.masks, strict=True))


def check_lengths(masks: Sequence[Tensor | None]) -> None:
    """Raise UserError unless maps with these masks, (B, T) or None for features without positions, have one length."""
    lengths = ["no positions" if mask is None else f"{mask.shape[1]} positions" for mask in masks]
    require(
        len(set(lengths)) == 1,
        f"for the same texts one map has {lengths[0]}, another {next((n for n in lengths if n != lengths[0]), '')}; "
        "name features of the same length with student_layers and teacher_layers",
    )


def check_vectors(*networks: Features) -> None:
    """Raise UserError if maps of texts go to a method that embeds a fixed number of values."""
    require(
        all(mask is None for features in networks for mask in features.masks),
        "a map of texts has no fixed number of values to embed; name modules that give a vector for each text, or none for pooled features",
    )


def check_maps(features: Features, paths: Sequence[str]) -> None:
    """Raise UserError if a feature of texts, of a module in `paths`, is a map without a mask."""
    for path, feature, mask in zip(paths, features.maps, features.masks, strict=True):
        if mask is None and feature.dim() > 2:
            raise UserError(
                f"the module {path!r} gives {tuple(feature.shape)} for one text, without a mask of its padding; "
                "name one that gives a vector for each text, or use networks of `studygroup list networks`"
            )
