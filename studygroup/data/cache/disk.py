"""Free space and errors of the cache's disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studygroup.errors import UserError


@contextmanager
def cache_errors(cache: Path) -> Iterator[None]:
    """Convert an `OSError` while the cache is written into a `UserError` that names the remedy."""
    try:
        yield
    except OSError as error:
        remedy = "give another cache, or set STUDYGROUP_CACHE"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full while writing to the cache {cache}; free some space, {remedy}") from error
        raise UserError(f"the cache {cache} cannot be written: {error.strerror or error}; {remedy}") from error


def check_room(cache: Path, needed: int, purpose: str) -> None:
    """Check that the cache's disk has `needed` bytes free.

    Raises:
        UserError: it has not.
    """
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise UserError(
            f"{purpose} needs {size_text(needed)}, but the disk of the cache {cache} has {size_text(free)} free; "
            "free some space, give another cache, or set STUDYGROUP_CACHE"
        )


def size_text(size: float) -> str:
    """Format a number of bytes, e.g. `3.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
