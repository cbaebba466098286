"""Entries of the cache: folders that are written completely or not at all.

<cache>/<category>/<name>-<key>/            the entry
<cache>/<category>/<name>-<key>.lock        locked by the process that writes it
<cache>/<category>/<name>-<key>.tmp-...     being written; renamed when it is complete
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
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any, TypeVar

from studygroup.data.cache.disk import cache_errors
from studygroup.errors import UserError
from studygroup.lock import file_lock
from studygroup.options import OnError

META = "meta.json"
MAX_NAMED = 5
"""Number of unreadable samples that an error names."""
MAX_LOGGED = 20
"""Number of skipped samples that the log names."""
T = TypeVar("T")
SplitT = TypeVar("SplitT", bound=Sized)

logger = logging.getLogger(__name__)


def text_digest(text: str) -> str:
    """Return a 128-bit hash of a text, in hexadecimal."""
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def digest(*parts: object) -> str:
    """Return a hash of the `repr` of all parts."""
    return text_digest(repr(parts))


def cache_dir(cache: Path, category: str, name: str, key: str) -> Path:
    """Return the folder of an entry."""
    return cache / category / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:40]}-{key}"


def cached(folder: Path, cache: Path, read: Callable[[], T | None], write: Callable[[Path], None]) -> T:
    """Read an entry, and write it first if it is missing or damaged.

    Args:
        folder: folder of the entry, from `cache_dir`.
        cache: folder of the cache, for messages.
        read: reads the entry; returns None if it is missing or damaged.
        write: writes the entry into the empty folder that it is given, which is then renamed.

    Raises:
        UserError: the cache is full or cannot be written (any `OSError` of `write` counts as that), or `write` raises it.
    """
    found = read()
    if found is None:
        with cache_errors(cache):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with file_lock(folder.with_name(folder.name + ".lock")):
                found = read()  # another process may have written it before it released the lock
                if found is None:
                    _clean(folder)
                    _write_atomically(folder, write)
                    found = read()
    if found is None:
        raise UserError(f"the prepared data in {folder} cannot be read again; check the disk, or give another cache")
    return found


def open_splits(folder: Path, open_split: Callable[[Path, str], SplitT]) -> tuple[dict[str, Any], dict[str, SplitT]] | None:
    """Return the meta data and the splits of an entry; None if it is missing or damaged.

    Args:
        folder: folder of the entry.
        open_split: opens the arrays of a split by name; an `OSError`, `ValueError` or `EOFError` of it means that they are damaged.
    """
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        splits = {name: open_split(folder, name) for name in meta["rows"]}
        return (meta, splits) if all(len(split) == meta["rows"][name] for name, split in splits.items()) else None
    except (OSError, ValueError, KeyError, EOFError):
        return None


def names_file(folder: Path, split: str) -> Path:
    """Return the file with the names of a split's samples, a JSON string per line."""
    return folder / f"{split}_names.jsonl"


def write_meta(folder: Path, meta: object) -> None:
    """Write `meta.json`, once the other files of an entry are complete."""
    with (folder / META).open("w", encoding="utf-8") as file:
        json.dump(meta, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _clean(folder: Path) -> None:
    """Delete a damaged entry, and what killed processes left half-written in its category; called with the lock held."""
    shutil.rmtree(folder, ignore_errors=True)
    for unfinished in folder.parent.glob("*.tmp-*"):
        entry = unfinished.name.split(".tmp-")[0]
        if entry == folder.name:
            shutil.rmtree(unfinished, ignore_errors=True)
            continue
        with file_lock(folder.with_name(entry + ".lock"), wait=False) as locked:
            if locked:
                shutil.rmtree(unfinished, ignore_errors=True)


def _write_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    try:
        write(unfinished)
        unfinished.chmod(0o755)  # mkdtemp's folders are private; a cache may be shared
        try:
            unfinished.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # Where files cannot be locked another process may have been first, with the same content.
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


# ---------------------------------------------------------------- skipped samples


def check_skipped(names: Sequence[str], noun: str, source: str, on_error: OnError, folder: Path | None = None) -> None:
    """Log which samples were skipped.

    Args:
        names: names of the samples.
        noun: word for a sample, in the singular.
        source: name of the data set.
        on_error: `stop` or `skip`.
        folder: of the entry with all their names, if there is one.

    Raises:
        UserError: samples were skipped, and `on_error` is `stop`.
    """
    if not names:
        return
    if on_error == "stop":
        raise unreadable_error(names, noun, source)
    more = " and more" if folder is None else f" and more, listed in {folder / META}"
    shown = ", ".join(names[:MAX_LOGGED]) + (more if len(names) > MAX_LOGGED else "")
    logger.warning("skipped %s of %s that cannot be read: %s", _count(names, noun), source, shown)


def unreadable_error(names: Sequence[str], noun: str, source: str) -> UserError:
    """Return the error that names the first unreadable samples."""
    shown = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
    return UserError(f"{_count(names, noun)} of {source} cannot be read: {shown}; repair or remove them, or skip them (--on-error skip)")


def _count(names: Sequence[str], noun: str) -> str:
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''}"
