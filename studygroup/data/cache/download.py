"""Fetch published files: resumable, checked before they count, with a progress bar."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import urlsplit

from studygroup.data.cache.disk import check_room, writing
from studygroup.data.progress import progress_bar
from studygroup.errors import UserError
from studygroup.lock import file_lock

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""
ATTEMPTS = 5
"""Connections in a row that may bring nothing new."""
PAUSE = 1.0
"""Seconds before the second attempt; each further pause is twice as long."""
CHUNK = 1 << 18

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file as its publisher describes it: where it is, its size in bytes, its MD5 checksum."""

    url: str
    size: int
    md5: str

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePosixPath(urlsplit(self.url).path).name


class Lost(Exception):
    """A connection that failed, and may succeed later."""


def fetch(remote: RemoteFile, folder: Path, cache: Path, *, progress: bool = True) -> Path:
    """Fetch a file into a folder of the cache unless it is there; what an earlier call left in its `.part` is not fetched again.

    Args:
        remote: the file.
        folder: where to put it.
        cache: the cache's folder, for messages.
        progress: show a progress bar.

    Returns:
        The file's path.

    Raises:
        UserError: it cannot be had, or what comes is not what was published.
    """
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.exists():
        return target
    with writing(cache):
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / f"{remote.name}.lock"):
            if target.exists():  # just fetched by another process
                return target
            check_room(folder, remote.size - _size(part), f"to fetch {remote.name}")
            _fetch_rest(remote, part, progress)
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "md5").hexdigest()
            if _size(part) != remote.size or digest != remote.md5:
                raise _other_file(remote, part, f"{_size(part)} bytes with the MD5 {digest} instead of {remote.md5}")
            os.replace(part, target)
    return target


def verify_checksum(remote: RemoteFile, place: Path, fetched: Path) -> None:
    """Check a file's checksum: what was fetched must have the published one; the user's own may be another on purpose, which is logged.

    Args:
        remote: what it should be.
        place: the file.
        fetched: the folder for what is fetched.

    Raises:
        UserError: the file was fetched and has changed since, or cannot be read.
    """
    try:
        with place.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}; change its permissions, or give another archive") from error
    if digest == remote.md5:
        return
    if place.parent == fetched:
        raise UserError(f"{place} has changed since it was fetched (MD5 {digest}); delete it and run with --download")
    logger.warning("%s is not the published archive: its MD5 is %s, not %s", place, digest, remote.md5)


def _fetch_rest(remote: RemoteFile, part: Path, progress: bool) -> None:
    """Fetch what is missing of `part`, over as many connections as it takes while more and more comes."""
    idle, most = 0, _size(part)
    with progress_bar(f"Fetching {remote.name}", remote.size, "bytes", show=progress) as advance:
        shown = 0
        while _size(part) < remote.size:
            try:
                for size in _connection(remote, part):
                    advance(size - shown)
                    shown = size
                return
            except Lost as error:
                idle = 0 if _size(part) > most else idle + 1
                most = max(most, _size(part))
                if idle >= ATTEMPTS:
                    raise UserError(
                        f"{remote.url} cannot be fetched: {error}; run the same command again to go on where it stopped, "
                        "or get the file elsewhere and give its place"
                    ) from error
                time.sleep(PAUSE * 2**idle)


def _connection(remote: RemoteFile, part: Path) -> Iterator[int]:
    """Append to `part` what the server sends from its end on, or write it anew if the server starts at the beginning.

    Yields:
        The size of `part` whenever it has grown.

    Raises:
        Lost: the connection failed.
        UserError: the server does not have the file.
    """
    done = _size(part)
    with _answer(remote, part, done) as answer:
        content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        goes_on = answer.status == 206 and content_range is not None and int(content_range[1]) == done
        size = done if goes_on else 0
        length = content_range[2] if goes_on and content_range else answer.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        if total not in (None, remote.size):
            raise _other_file(remote, part, f"{total} bytes")
        with part.open("ab" if goes_on else "wb") as file:
            # At most one byte too many: enough to see that it is another file.
            while size <= remote.size and (data := _receive(answer, min(CHUNK, remote.size + 1 - size))):
                file.write(data)
                size += len(data)
                yield size
    if total is not None and size < total:
        raise Lost(f"the connection ended after {size} of {total} bytes")


def _answer(remote: RemoteFile, part: Path, done: int) -> http.client.HTTPResponse:
    """Ask for the file from byte `done` on."""
    headers = {"User-Agent": "studygroup", "Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        return cast(http.client.HTTPResponse, urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT))
    except urllib.error.HTTPError as error:
        error.close()
        answered = f"the server answers {error.code} {error.reason}"
        if error.code == 416:  # it has less than was fetched before: start anew
            part.unlink()
        if error.code >= 500 or error.code in (408, 416, 429):
            raise Lost(answered) from error
        raise UserError(f"{remote.url} cannot be fetched: {answered}; get the file elsewhere and give its place") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror | ConnectionRefusedError):
            host = urlsplit(remote.url).netloc
            raise UserError(f"{host} cannot be reached ({error.reason}); check the network, or get {remote.url} elsewhere") from error
        raise Lost(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise Lost(str(error) or type(error).__name__) from error


def _receive(answer: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return answer.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise Lost(str(error) or type(error).__name__) from error


def _other_file(remote: RemoteFile, part: Path, sent: str) -> UserError:
    """The error for content that is not what was published; it is deleted."""
    part.unlink(missing_ok=True)
    return UserError(
        f"{remote.url} is not the published file: {sent}, published were {remote.size} bytes; "
        "try again later, or get the file elsewhere and give its place"
    )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
