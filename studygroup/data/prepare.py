"""A source, read once into memory-mapped arrays in the cache.

<cache>/prepared/<name>-<key>/     train_inputs.npy  train_labels.npy  train_moments.npy  (test_...)  meta.json
<cache>/prepared/<name>-<key>.lock      held by whoever prepares it
<cache>/prepared/<name>-<key>.tmp-...   what is being written; renamed when it is complete
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup.data.array_file import ArrayFile
from studygroup.data.dataset import Split
from studygroup.data.disk import check_room, writing
from studygroup.data.images import fit_array
from studygroup.data.lock import locked
from studygroup.data.progress import bar
from studygroup.data.source import Broken, Contents, Source
from studygroup.errors import UserError

FORMAT = 1
"""Counted up when what is prepared from the same source changes."""
MAX_NAMED = 5
"""How many broken samples an error names."""
MAX_LOGGED = 20
"""How many skipped samples are named in the log."""

logger = logging.getLogger(__name__)


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
    source: Source, cache: Path, *, image_size: int | None, channels: int | None, broken: Broken = "stop", progress: bool = True
) -> Prepared:
    """Open what is prepared of a source, and prepare it first if that is not done.

    Args:
        source: the data set.
        cache: the cache's folder.
        image_size: height and width of the prepared images; None for the source's own.
        channels: 1 or 3; None for the source's own.
        broken: `stop` refuses what was prepared by skipping broken samples.
        progress: show progress bars.

    Raises:
        UserError: the source cannot be read, or the cache has no room or cannot be written.
    """
    words = (FORMAT, source.key(), image_size, channels)
    key = hashlib.blake2b(repr(words).encode(), digest_size=16).hexdigest()
    home = cache / "prepared" / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', source.name)[:40]}-{key}"
    prepared = _open(home, key)
    if prepared is None:
        with writing(cache):
            home.parent.mkdir(parents=True, exist_ok=True)
            with locked(home.with_name(home.name + ".lock")):
                prepared = _open(home, key)  # by the process that held the lock before
                if prepared is None:
                    _clean(home)
                    _write(source, home, image_size, channels, broken, progress)
                    prepared = _open(home, key)
    if prepared is None:
        raise UserError(f"what was prepared in {home} cannot be read again; check the disk, or give another cache")
    if prepared.broken:
        if broken == "stop":
            raise broken_error(prepared.broken, source.name)
        shown = ", ".join(prepared.broken[:MAX_LOGGED]) + (
            f" and more, listed in {home / 'meta.json'}" if len(prepared.broken) > MAX_LOGGED else ""
        )
        logger.warning("skipped %s of %s that cannot be read: %s", images_text(prepared.broken), source.name, shown)
    return prepared


def broken_error(names: tuple[str, ...], where: str) -> UserError:
    """The error that names the first of the broken samples."""
    shown = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
    return UserError(f"{images_text(names)} of {where} cannot be read: {shown}; repair or remove them, or skip them (--broken skip)")


def images_text(names: tuple[str, ...]) -> str:
    """How many images these are, in words."""
    return f"{len(names)} image{'s' if len(names) > 1 else ''}"


def _open(home: Path, key: str) -> Prepared | None:
    """What lies at `home`, or None if it is not there or is damaged."""
    try:
        meta = json.loads((home / "meta.json").read_text(encoding="utf-8"))
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


def _clean(home: Path) -> None:
    """Remove what crashed processes left half-written, and what is damaged; called with the lock held."""
    shutil.rmtree(home, ignore_errors=True)
    for rest in home.parent.glob("*.tmp-*"):
        owner = rest.name.split(".tmp-")[0]
        if owner == home.name:
            shutil.rmtree(rest, ignore_errors=True)
            continue
        with locked(home.with_name(owner + ".lock"), wait=False) as free:
            if free:
                shutil.rmtree(rest, ignore_errors=True)


def _write(source: Source, home: Path, image_size: int | None, channels: int | None, broken: Broken, progress: bool) -> None:
    contents = source.read()
    own_channels, height, width = contents.shape
    shape = (channels or own_channels, image_size or height, image_size or width)
    total = sum(part.count for part in contents.parts.values())
    row = math.prod(shape) * contents.dtype.itemsize + 8 + 16 * shape[0]
    check_room(home.parent, total * row + (1 << 16), f"to prepare {source.name}")
    work = Path(tempfile.mkdtemp(prefix=f"{home.name}.tmp-", dir=home.parent))
    try:
        rows = {}
        counts = {name: np.zeros(len(contents.classes), dtype=np.int64) for name in contents.parts}
        with bar(f"Preparing {source.name}", total, "samples", show=progress) as advance:
            for name, part in contents.parts.items():
                with (
                    ArrayFile(work / f"{name}_inputs.npy", part.count, shape, contents.dtype) as inputs,
                    ArrayFile(work / f"{name}_labels.npy", part.count, (), np.dtype(np.int64)) as labels,
                    ArrayFile(work / f"{name}_moments.npy", part.count, (2, shape[0]), np.dtype(np.int64)) as moments,
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
            _check_rest(contents, counts, source.name, broken)
        meta = {"name": source.name, "classes": contents.classes, "rows": rows, "broken": contents.broken}
        with (work / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        work.chmod(0o755)  # mkdtemp's folders are private; a cache may be shared
        try:
            work.rename(home)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # Where files cannot be locked another process may have been first, with the same content.
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_rest(contents: Contents, counts: dict[str, NDArray[np.int64]], name: str, broken: Broken) -> None:
    """Is there enough when the broken samples are left out, and may they be?"""
    if broken == "stop":
        raise broken_error(tuple(contents.broken), name)
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
