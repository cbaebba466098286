"""A source of images, read once into memory-mapped arrays in the cache.

<cache>/prepared/<name>-<key>/     train_inputs.npy  train_labels.npy  train_moments.npy  (test_...)  meta.json
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.cache.disk import check_room
from studygroup.data.cache.entries import META, broken_error, cache_dir, cached, check_skipped, hash_of, write_meta
from studygroup.data.dataset import Split
from studygroup.data.images.decode import fit_array
from studygroup.data.progress import progress_bar
from studygroup.data.source import OnError, RawDataset, Source
from studygroup.errors import UserError

FORMAT = 1
"""Counted up when what is prepared from the same source changes."""
SHELF = "prepared"
WHAT = "image"


@dataclass(frozen=True)
class Prepared:
    """What lies in the cache.

    Attributes:
        classes: names, in the order of the labels.
        splits: `train` and perhaps `test`.
        moments: per split (N, 2, C) int64: each image's sum of pixel values and of their squares, per channel.
        broken: names of the samples that were skipped.
        key: hash of the source's content and the preparation's options.
    """

    classes: tuple[str, ...]
    splits: dict[str, Split]
    moments: dict[str, NDArray[np.int64]]
    broken: tuple[str, ...]
    key: str


def prepare(
    source: Source, cache: Path, *, image_size: int | None, channels: int | None, on_error: OnError = "stop", progress: bool = True
) -> Prepared:
    """Open what is prepared of a source, and prepare it first if that is not done.

    Args:
        source: the data set.
        cache: the cache's folder.
        image_size: height and width of the prepared images; None for the source's own.
        channels: 1 or 3; None for the source's own.
        on_error: `stop` refuses what was prepared by skipping broken samples.
        progress: show progress bars.

    Raises:
        UserError: the source cannot be read, or the cache has no room or cannot be written.
    """
    key = hash_of(FORMAT, source.key(), image_size, channels)
    home = cache_dir(cache, SHELF, source.name, key)
    prepared = cached(home, cache, partial(_open, home, key), partial(_write, source, image_size, channels, on_error, progress))
    check_skipped(prepared.broken, WHAT, source.name, on_error, home)
    return prepared


def _open(home: Path, key: str) -> Prepared | None:
    """What lies at `home`, or None if it is not there or is damaged."""
    try:
        meta = json.loads((home / META).read_text(encoding="utf-8"))
        splits, moments = {}, {}
        for name, rows in meta["rows"].items():
            inputs, labels, sums = (np.load(home / f"{name}_{what}.npy", mmap_mode="r") for what in ("inputs", "labels", "moments"))
            if not len(inputs) == len(labels) == len(sums) == rows:
                return None
            # A plain view: indexing the memory map's own class costs more. Labels are small and are read.
            splits[name] = Split(inputs.view(np.ndarray), np.array(labels))
            moments[name] = sums.view(np.ndarray)
        return Prepared(tuple(meta["classes"]), splits, moments, tuple(meta["broken"]), key)
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _write(source: Source, image_size: int | None, channels: int | None, on_error: OnError, progress: bool, work: Path) -> None:
    contents = source.read()
    own_channels, height, width = contents.shape
    shape = (channels or own_channels, image_size or height, image_size or width)
    total = sum(part.count for part in contents.parts.values())
    row = math.prod(shape) * contents.dtype.itemsize + 8 + 16 * shape[0]
    check_room(work.parent, total * row + (1 << 16), f"to prepare {source.name}")
    rows = {}
    counts = {name: np.zeros(len(contents.classes), dtype=np.int64) for name in contents.parts}
    with progress_bar(f"Preparing {source.name}", total, "samples", show=progress) as advance:
        for name, part in contents.parts.items():
            with (
                ArrayFile(work / f"{name}_inputs.npy", shape, contents.dtype) as inputs,
                ArrayFile(work / f"{name}_labels.npy", (), np.dtype(np.int64)) as labels,
                ArrayFile(work / f"{name}_moments.npy", (2, shape[0]), np.dtype(np.int64)) as moments,
            ):
                for images, classes in part.chunks:
                    images = fit_array(images, shape)
                    counts[name] += np.bincount(classes, minlength=len(contents.classes))
                    inputs.append(images)
                    labels.append(classes)
                    moments.append(_moments(images))
                    advance(len(classes))
            rows[name] = inputs.rows
    if contents.broken:
        _check_rest(contents, counts, source.name, on_error)
    write_meta(work, {"name": source.name, "classes": contents.classes, "rows": rows, "broken": contents.broken})


def _check_rest(contents: RawDataset, counts: dict[str, NDArray[np.int64]], name: str, on_error: OnError) -> None:
    """Is there enough when the broken samples are left out, and may they be?"""
    if on_error == "stop":
        raise broken_error(contents.broken, WHAT, name)
    for part, samples in counts.items():
        if empty := [label for label, count in zip(contents.classes, samples, strict=True) if not count]:
            raise UserError(
                f"no image of class {empty[0]!r} of {name} ({part}) can be read: {contents.broken[0]}, …; repair or remove them"
            )


def _moments(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n, C, H, W) uint8 -> (n, 2, C): sums of the pixel values and of their squares, exact."""
    sums = images.sum(axis=(2, 3), dtype=np.int64)
    squares = np.square(images, dtype=np.uint16).sum(axis=(2, 3), dtype=np.int64)
    return np.stack([sums, squares], axis=1)
