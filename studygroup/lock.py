"""Locks between processes, on a file or a folder; the system releases them when the holder ends, even if it is killed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studygroup.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: no lock is taken; each process still writes to a temporary folder of its own
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock on `path`.

    Args:
        path: an existing folder, or a file that is used for locking only; it is created if needed, and not deleted.
        wait: wait until another holder releases the lock; otherwise return at once.

    Yields:
        Whether the lock was taken. Always True where the file system has no locks.
    """
    if fcntl is None:
        yield True
        return
    handle = os.open(path, os.O_RDONLY) if path.is_dir() else os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _acquire(handle, path, wait)
    finally:
        os.close(handle)


@contextmanager
def lock_dir(folder: Path) -> Iterator[None]:
    """Create a folder if needed and lock it, without a lock file in it.

    Raises:
        UserError: it cannot be created, or another process holds its lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; take another --out") from error
    with file_lock(folder, wait=False) as locked:
        if not locked:
            raise UserError(f"another process is at work in {folder}; wait until it is done, or take another --out")
        yield


def _acquire(handle: int, path: Path, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            return False
        logger.info("waiting for another process that holds %s", path)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a network file system without locks
        pass
    return True
