"""Data from Python: a DataFrame, lists of texts and labels, or arrays of images and labels, written into the cache as a file.

<cache>/given/<kind>-<hash>.jsonl     rows of texts
<cache>/given/<kind>-<hash>.npz       `images` (N, H, W, C) uint8 and `labels` (N,)

The run's configuration names the file, so that everything that opens a run's data works afterwards, in other processes too.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch

from studygroup.data.cache.disk import cache_errors
from studygroup.data.images.arrays import split_images
from studygroup.data.source import cache_folder
from studygroup.data.texts.frames import frame_rows, is_frame, plain_value
from studygroup.errors import UserError
from studygroup.options import CacheOptions

ACCEPTED = (
    "the name of a data set, the path of a folder or a table, a pandas DataFrame, or a pair: (texts, labels) of two lists, or "
    "(images, labels) of a uint8 array (N, H, W, C) and a list"
)
OptionsT = TypeVar("OptionsT", bound=CacheOptions)


def stored(options: OptionsT) -> OptionsT:
    """Return options whose `data` is a name or a path: data from Python is written into the cache, and is then named by its file.

    Raises:
        UserError: the data is nothing that can be trained on, or the cache cannot be written.
    """
    data = getattr(options, "data", None)
    if data is None or isinstance(data, str | Path):
        return options
    folder = cache_folder(options.cache) / "given"
    return replace(options, data=str(_store(data, folder)))  # type: ignore[call-arg]


def _store(data: object, folder: Path) -> Path:
    if is_frame(data):
        return _write(folder, "dataframe", ".jsonl", lambda file: _write_rows(file, frame_rows(data)))
    if not (isinstance(data, tuple) and len(data) == 2):
        hint = "; give a pair of lists, (texts, labels)" if isinstance(data, list | Mapping) else ""
        raise UserError(f"data is a {type(data).__name__}{hint}; it must be {ACCEPTED}")
    samples, labels = data
    if isinstance(samples, np.ndarray | torch.Tensor) and not _is_texts(samples):
        pixels, names = _images(samples), _labels(labels, len(samples))
        return _write(folder, "arrays", ".npz", lambda file: np.savez(file, images=pixels, labels=np.array(names)))
    texts = _list(samples, "texts")
    names = _labels(labels, len(texts))
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"item {position} of the texts is a {type(text).__name__}; give strings, or {ACCEPTED}")
    rows = ({"text": text, "label": label} for text, label in zip(texts, names, strict=True))
    return _write(folder, "lists", ".jsonl", lambda file: _write_rows(file, rows))


def _is_texts(samples: object) -> bool:
    return isinstance(samples, np.ndarray) and samples.dtype.kind in "UO"


def _images(samples: Any) -> Any:
    """Return a batch of images as (N, H, W, C) uint8 with C = 1 or 3 or 4."""
    if samples.ndim != 4:
        raise UserError(f"the images have the shape {tuple(samples.shape)}; give one array (N, H, W, C), with C = 1 for grey images")
    return np.ascontiguousarray(split_images(samples))


def _list(values: object, what: str) -> list[object]:
    """Return a sequence, a Series or an array of one dimension as a list.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise UserError(f"the {what} are a {type(values).__name__}; give a list; data must be {ACCEPTED}")
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _labels(labels: object, count: int) -> list[Any]:
    """Return the labels: all names, or all whole numbers.

    Raises:
        UserError: they are not, or there are not as many as samples.
    """
    values = [plain_value(value) for value in _list(labels, "labels")]
    if len(values) != count:
        raise UserError(f"there are {count} samples, but {len(values)} labels; give one label per sample")
    if not values:
        raise UserError("there are no samples; give some")
    wrong = next((value for value in values if not isinstance(value, str | int) or value == ""), values[0])
    kinds = {type(value) for value in values}
    if not isinstance(wrong, str | int) or wrong == "" or not (kinds == {str} or kinds <= {int, bool}):
        raise UserError(
            f"the labels must be names or whole numbers, all of one kind; one is {wrong!r} ({', '.join(k.__name__ for k in kinds)})"
        )
    return values


def _write_rows(file: BinaryIO, rows: Iterable[Mapping[str, object]]) -> None:
    file.writelines(json.dumps(row).encode() + b"\n" for row in rows)  # ASCII: half of a surrogate pair stays what it is


def _write(folder: Path, kind: str, suffix: str, write: Callable[[BinaryIO], object]) -> Path:
    """Write a file and name it by its content."""
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".part-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
            with open(name, "rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
            path = folder / f"{kind}-{content}{suffix}"
            Path(name).chmod(0o644)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    return path
