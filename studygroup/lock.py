"""One process at a time: a lock on a file or a folder, which the system releases when its holder ends, however it ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studygroup.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: processes are not kept apart; each still writes to a place of its own
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock on `path`.

    Args:
        path: a folder that is there, or a file that serves for nothing else, which is made if needed, and left there.
        wait: wait for another holder to be done; otherwise give up at once.

    Yields:
        Whether nobody else holds it. Always True where the file system has no locks.
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
    """Have a folder, which is made if needed, for oneself.

    Raises:
        UserError: it cannot be made, or another process has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; take another --out") from error
    with file_lock(folder, wait=False) as free:
        if not free:
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
