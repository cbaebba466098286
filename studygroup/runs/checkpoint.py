"""Checkpoints: written whole or not at all, checked when read.

A file is the SHA-256 of what follows, then a PyTorch archive of tensors and plain values. It is written to a temporary name,
flushed to the disk and renamed. The newest two are kept, so that a damaged newest one costs one save.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from studygroup.atomic import write_atomically
from studygroup.errors import TrainingError, one_line

KEPT = 2
STATE: Mapping[str, type] = {"identity": str, "history": str, "method": dict, "optimizer": dict, "epoch": int, "step": int}
"""Entries of the state of every training, of earlier versions, too."""
_NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.ckpt")


def save(folder: Path, state: dict[str, Any], *, epoch: int, step: int) -> Path:
    """Write a checkpoint and delete all but the newest two.

    Args:
        folder: of the checkpoints.
        state: tensors and plain values, nested in dictionaries and lists.
        epoch: epochs done.
        step: steps done of the next epoch.

    Raises:
        TrainingError: it cannot be written; the earlier ones are untouched.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    path = folder / f"epoch-{epoch:06d}-step-{step:08d}.ckpt"
    write_atomically(path, hashlib.sha256(data).digest() + data)
    _delete_old(folder)
    return path


def _delete_old(folder: Path) -> None:
    for old in [*newest_first(folder)[KEPT:], *folder.glob(".*.part")]:
        old.unlink(missing_ok=True)


def newest_first(folder: Path) -> list[Path]:
    """List the checkpoints in a folder, the latest first."""
    found = [(match, path) for path in folder.glob("*.ckpt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda pair: (int(pair[0][1]), int(pair[0][2])), reverse=True)]


def load_newest(folder: Path, entries: Mapping[str, type] = MappingProxyType({})) -> dict[str, Any] | None:
    """Load the newest intact checkpoint, or return None if there is none; warn of damaged ones.

    Args:
        folder: of the checkpoints.
        entries: that a state must have, with their types.

    Raises:
        TrainingError: there are checkpoints, and all are damaged.
    """
    paths = newest_first(folder)
    for path in paths:
        try:
            state = _read(path, entries)
        except (ValueError, OSError) as error:
            warnings.warn(f"checkpoint {path.name} is damaged ({error}); falling back to the one before", stacklevel=2)
            path.unlink(missing_ok=True)  # it would count as one of the two to keep
            continue
        _delete_old(folder)  # of a process that was killed before it did
        return state
    if paths:
        raise TrainingError(f"all checkpoints in {folder} are damaged; start again with --overwrite")
    return None


def _read(path: Path, entries: Mapping[str, type]) -> dict[str, Any]:
    data = path.read_bytes()
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError("its checksum does not match")
    try:
        state: object = torch.load(io.BytesIO(data[32:]), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever the reader raises for what is no archive
        raise ValueError(one_line(error, 80)) from error
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    if wrong := [name for name, kind in entries.items() if not isinstance(state.get(name), kind)]:
        raise ValueError(f"it holds no {wrong[0]}")
    return state
