"""Checkpoints: written whole or not at all, checked when read.

A file is the SHA-256 of what follows, then a PyTorch archive of tensors and plain values. It is written to a temporary name,
flushed to the disk and renamed. The newest two are kept, so that a damaged newest one costs one save.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from studygroup.atomic import write_atomically
from studygroup.errors import TrainingError, UserError, one_line
from studygroup.regular import read_regular

KEPT = 2
STATE: Mapping[str, type] = {"identity": str, "history": str, "method": dict, "optimizer": dict, "epoch": int, "step": int}
"""Entries of the state of every training, of earlier versions, too."""
MISFITS = (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError)
"""What reading a damaged checkpoint raises, and what modules and optimizers raise for a state that is not theirs."""
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


def load_newest(folder: Path, load: Callable[[dict[str, Any]], None]) -> bool:
    """Load the newest checkpoint that can be loaded; warn of those that cannot, and delete them once another one is loaded.

    Args:
        folder: of the checkpoints.
        load: takes a state, or raises one of `MISFITS` if its content is foreign.

    Returns:
        Whether there is one.

    Raises:
        TrainingError: there are checkpoints, and none can be loaded.
        UserError: as `load`.
    """
    damaged = []
    for path in newest_first(folder):
        try:
            load(read(path))
        except (UserError, TrainingError):
            raise
        except MISFITS as error:
            reason = f"{type(error).__name__}: " if isinstance(error, LookupError) else ""
            warnings.warn(
                f"checkpoint {path.name} is damaged ({reason}{one_line(error, 100)}); falling back to the one before", stacklevel=2
            )
            damaged.append(path)
            continue
        for path in damaged:
            path.unlink(missing_ok=True)  # it would count as one of the two to keep
        _delete_old(folder)  # of a process that was killed before it did
        return True
    if damaged:
        raise TrainingError(f"all checkpoints in {folder} are damaged; start again with --overwrite")
    return False


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    data = read_regular(path)
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError("its checksum does not match")
    try:
        state: object = torch.load(io.BytesIO(data[32:]), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever the reader raises for what is no archive
        raise ValueError(one_line(error, 80)) from error
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state


def check_entries(state: Mapping[str, Any]) -> None:
    """Raise ValueError if a state lacks an entry that every training's has."""
    if wrong := [name for name, kind in STATE.items() if not isinstance(state.get(name), kind)]:
        raise ValueError(f"it holds no {wrong[0]}")
