"""Hashes of the content of files, remembered, so that unchanged files are not read again (as in git's index)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from studygroup.data.cache.entries import text_digest
from studygroup.data.pool import thread_map
from studygroup.data.progress import progress_bar
from studygroup.regular import open_regular

# A file that changed so shortly before it was hashed (nanoseconds) may change again without a change of its times.
SETTLED = 2_000_000_000
UNREADABLE = "unreadable"
Entry = tuple[int, int, int, str, str]
"""Size, modification time and status change time (ns), hash, and remark."""


def no_remark(path: Path) -> str:
    """Return an empty remark."""
    return ""


def fingerprints(
    root: Path,
    names: Sequence[str],
    cache: Path,
    *,
    purpose: str,
    examine: Callable[[Path], str] = no_remark,
    progress: bool = True,
) -> list[tuple[str, str]]:
    """Hash files, reading only those that are new or changed since the last time.

    Args:
        root: a folder.
        names: paths of files relative to it.
        cache: folder of the cache. The hashes are remembered in `index/` in it; if that cannot be written, nothing is remembered.
        purpose: name of this use; each use of `root` remembers its own hashes.
        examine: returns a remark on a file, to be remembered with its hash; the same function for every call with this purpose.
        progress: show a progress bar if files are read.

    Returns:
        Content hash and remark of each file, in order; `unreadable` and an empty remark if it cannot be read.
    """
    root = root.resolve()
    index = cache / "index" / f"{hashlib.blake2b(purpose.encode() + os.fsencode(root), digest_size=16).hexdigest()}.json"
    known = _load(index)
    start = time.time_ns()
    times = [_times(root / name) for name in names]
    changed = [i for i, name in enumerate(names) if known.get(name, (-1, 0, 0, "", ""))[:3] != times[i]]

    def read(i: int) -> Entry:
        path = root / names[i]
        try:
            with open_regular(path) as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        except OSError:  # reported when the content is read
            return (*times[i], UNREADABLE, "")
        return (*times[i], digest, examine(path))

    entries = {name: known[name] for name in names if name in known}
    if changed:
        with progress_bar(f"Reading {root.name}", len(changed), "samples", show=progress) as advance:
            for i, entry in zip(changed, thread_map(read, changed), strict=True):
                entries[names[i]] = entry
                advance(1)
    if changed or len(known) != len(entries):
        settled = {name: entry for name, entry in entries.items() if max(entry[1:3]) < start - SETTLED and entry[3] != UNREADABLE}
        if settled != known:
            _save(index, settled)
    return [entries[name][3:] for name in names]


def files_digest(path: Path, names: Sequence[str], cache: Path, *, purpose: str, prefix: Sequence[str] = ()) -> str:
    """Return one hash of the content of an archive, or of some files in an unpacked folder.

    Args:
        path: the archive or the folder.
        names: the files in the folder.
        cache: folder of the cache.
        purpose: see `fingerprints`.
        prefix: further words to hash.
    """
    folder, names = (path.parent, [path.name]) if path.is_file() else (path, names)
    found = fingerprints(folder, names, cache, purpose=purpose, progress=False)
    return text_digest("\n".join([*prefix, *(digest for digest, _ in found)]))


def _times(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except OSError:  # e.g. a broken link
        return 0, 0, 0
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _load(index: Path) -> dict[str, Entry]:
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
        return {
            name: (int(size), int(modified), int(changed), str(digest), str(remark))
            for name, (size, modified, changed, digest, remark) in entries.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(index: Path, entries: dict[str, Entry]) -> None:
    with suppress(OSError):  # a cache that is read-only or full; files are read again the next time
        index.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=index.name, dir=index.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(entries, file)
            os.replace(temporary, index)
        except BaseException:
            os.unlink(temporary)
            raise
