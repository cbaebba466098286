"""Folders in the cache, each made once and whole or not at all.

<cache>/<shelf>/<name>-<key>/            what was made
<cache>/<shelf>/<name>-<key>.lock        held by whoever makes it
<cache>/<shelf>/<name>-<key>.tmp-...     what is being made; renamed when it is complete
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from studygroup.data.cache.disk import writing
from studygroup.data.source import OnError
from studygroup.errors import UserError
from studygroup.lock import file_lock

META = "meta.json"
MAX_NAMED = 5
"""How many broken samples an error names."""
MAX_LOGGED = 20
"""How many skipped samples are named in the log."""
T = TypeVar("T")

logger = logging.getLogger(__name__)


def hash_of(*words: object) -> str:
    """Hash of what something in the cache depends on."""
    return hashlib.blake2b(repr(words).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def cache_dir(cache: Path, category: str, name: str, key: str) -> Path:
    """The folder for something in the cache."""
    return cache / category / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:40]}-{key}"


def cached(home: Path, cache: Path, read: Callable[[], T | None], write: Callable[[Path], None]) -> T:
    """Read what lies in the cache, and make it first if it is not there or is damaged.

    Args:
        home: its folder, from `home_of`.
        cache: the cache, for messages.
        read: reads it from `home`; None if it is not there or is damaged.
        write: makes it in the empty folder that it is given, which is then renamed. An `OSError` of it is taken for the cache's.

    Raises:
        UserError: the cache has no room or cannot be written, or what `write` raises.
    """
    found = read()
    if found is None:
        with writing(cache):
            home.parent.mkdir(parents=True, exist_ok=True)
            with file_lock(home.with_name(home.name + ".lock")):
                found = read()  # made by the process that held the lock before
                if found is None:
                    _clean(home)
                    _make(home, write)
                    found = read()
    if found is None:
        raise UserError(f"what was prepared in {home} cannot be read again; check the disk, or give another cache")
    return found


def write_meta(folder: Path, meta: object) -> None:
    """Write what is to be known of a folder's files, once these are complete."""
    with (folder / META).open("w", encoding="utf-8") as file:
        json.dump(meta, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _clean(home: Path) -> None:
    """Remove what crashed processes left half-written, and what is damaged; called with the lock held."""
    shutil.rmtree(home, ignore_errors=True)
    for rest in home.parent.glob("*.tmp-*"):
        owner = rest.name.split(".tmp-")[0]
        if owner == home.name:
            shutil.rmtree(rest, ignore_errors=True)
            continue
        with file_lock(home.with_name(owner + ".lock"), wait=False) as free:
            if free:
                shutil.rmtree(rest, ignore_errors=True)


def _make(home: Path, write: Callable[[Path], None]) -> None:
    work = Path(tempfile.mkdtemp(prefix=f"{home.name}.tmp-", dir=home.parent))
    try:
        write(work)
        work.chmod(0o755)  # mkdtemp's folders are private; a cache may be shared
        try:
            work.rename(home)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # Where files cannot be locked another process may have been first, with the same content.
    finally:
        shutil.rmtree(work, ignore_errors=True)


# ---------------------------------------------------------------- what was left out


def check_skipped(names: Sequence[str], what: str, where: str, on_error: OnError, home: Path) -> None:
    """Refuse, or tell the log, that samples were left out of what lies at `home`.

    Raises:
        UserError: there are such samples, and `broken` is `stop`.
    """
    if not names:
        return
    if on_error == "stop":
        raise broken_error(names, what, where)
    shown = ", ".join(names[:MAX_LOGGED]) + (f" and more, listed in {home / META}" if len(names) > MAX_LOGGED else "")
    logger.warning("skipped %s of %s that cannot be read: %s", _number(names, what), where, shown)


def broken_error(names: Sequence[str], what: str, where: str) -> UserError:
    """The error that names the first of the broken samples."""
    shown = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
    return UserError(f"{_number(names, what)} of {where} cannot be read: {shown}; repair or remove them, or skip them (--on-error skip)")


def _number(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}"
