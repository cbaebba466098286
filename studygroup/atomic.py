"""Write files atomically: a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

from studygroup.errors import TrainingError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file atomically, by renaming a temporary one.

    Raises:
        TrainingError: the disk is full or cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"cannot write {path}: {error.strerror}; free some space or take another disk, then continue with --resume"
        ) from error
