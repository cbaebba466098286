"""Download of published files: resumed after interruptions, verified by checksum, with a progress bar."""

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
from typing import Any, cast
from urllib.parse import urlsplit

from studygroup.data.cache.disk import cache_errors, check_room
from studygroup.data.progress import progress_bar
from studygroup.data.source import Source
from studygroup.errors import UserError
from studygroup.lock import file_lock

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""
ATTEMPTS = 5
"""Consecutive connections that may transfer nothing new."""
PAUSE = 1.0
"""Seconds before the second attempt; each further pause is twice as long."""
CHUNK = 1 << 18

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file as its publisher describes it: address, size in bytes, MD5 checksum."""

    url: str
    size: int
    md5: str

    @property
    def name(self) -> str:
        """Return the file's name."""
        return PurePosixPath(urlsplit(self.url).path).name


class ConnectionLost(Exception):
    """A connection failed, and may succeed later."""


def download_dir(source: Source[Any]) -> Path:
    """Return the folder for the downloads of a source."""
    return source.cache / "downloads" / source.name


def find_download(remote: RemoteFile, source: Source[Any]) -> Path:
    """Return the downloaded archive of a source; download it if the options allow it.

    Raises:
        UserError: it was not downloaded before, and is not to be downloaded now; or as `fetch`.
    """
    folder = download_dir(source)
    if source.options.download:
        return fetch(remote, folder, source.cache, progress=source.options.progress)
    if (folder / remote.name).is_file():
        return folder / remote.name
    raise UserError(f"{source.name} is not there; fetch it with --download, or give {remote.name} as {source.name}:PATH")


def fetch(remote: RemoteFile, folder: Path, cache: Path, *, progress: bool = True) -> Path:
    """Download a file into a folder of the cache unless it is there; continue an earlier, interrupted download (`NAME.part`).

    Args:
        remote: the file.
        folder: target folder.
        cache: folder of the cache, for messages.
        progress: show a progress bar.

    Returns:
        The path of the file.

    Raises:
        UserError: the file cannot be downloaded, or its size or checksum differ from the published ones.
    """
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.exists():
        return target
    with cache_errors(cache):
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / f"{remote.name}.lock"):
            if target.exists():  # another process may have downloaded it before it released the lock
                return target
            check_room(folder, remote.size - _size(part), f"to fetch {remote.name}")
            _fetch_rest(remote, part, progress)
            digest = _md5(part)
            if _size(part) != remote.size or digest != remote.md5:
                raise _wrong_file(remote, part, f"{_size(part)} bytes with the MD5 {digest} instead of {remote.md5}")
            os.replace(part, target)
    return target


def verify_checksum(remote: RemoteFile, path: Path, downloads: Path) -> None:
    """Check a file's checksum: an error for a download; for a file of the user, which may be modified on purpose, a warning.

    Args:
        remote: the published file.
        path: the file to check.
        downloads: folder of the downloads.

    Raises:
        UserError: the file was downloaded and has changed since, or cannot be read.
    """
    try:
        digest = _md5(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; change its permissions, or give another archive") from error
    if digest == remote.md5:
        return
    if path.parent == downloads:
        raise UserError(f"{path} has changed since it was fetched (MD5 {digest}); delete it and run with --download")
    logger.warning("%s is not the published archive: its MD5 is %s, not %s", path, digest, remote.md5)


def _fetch_rest(remote: RemoteFile, part: Path, progress: bool) -> None:
    """Download the missing bytes of `part`; connect again as long as the file grows."""
    failures, largest = 0, _size(part)
    with progress_bar(f"Fetching {remote.name}", remote.size, "bytes", show=progress) as advance:
        shown = 0
        while _size(part) < remote.size:
            try:
                for size in _transfer(remote, part):
                    advance(size - shown)
                    shown = size
                return
            except ConnectionLost as error:
                failures = 0 if _size(part) > largest else failures + 1
                largest = max(largest, _size(part))
                if failures >= ATTEMPTS:
                    raise UserError(
                        f"{remote.url} cannot be fetched: {error}; run the same command again to continue the download, "
                        "or get the file elsewhere and give its path"
                    ) from error
                time.sleep(PAUSE * 2**failures)


def _transfer(remote: RemoteFile, part: Path) -> Iterator[int]:
    """Append the rest of the file to `part`, or overwrite it if the server sends the file from its beginning.

    Yields:
        The size of `part` whenever it has grown.

    Raises:
        ConnectionLost: the connection failed.
        UserError: the server does not have the file.
    """
    done = _size(part)
    with _connect(remote, part, done) as response:
        content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        resumed = response.status == 206 and content_range is not None and int(content_range[1]) == done
        size = done if resumed else 0
        length = content_range[2] if resumed and content_range else response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        if total not in (None, remote.size):
            raise _wrong_file(remote, part, f"{total} bytes")
        with part.open("ab" if resumed else "wb") as file:
            # At most one byte too many: enough to detect a larger file.
            while size <= remote.size and (data := _receive(response, min(CHUNK, remote.size + 1 - size))):
                file.write(data)
                size += len(data)
                yield size
    if total is not None and size < total:
        raise ConnectionLost(f"the connection ended after {size} of {total} bytes")


def _connect(remote: RemoteFile, part: Path, done: int) -> http.client.HTTPResponse:
    """Request the file from byte `done` on."""
    headers = {"User-Agent": "studygroup", "Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        return cast(http.client.HTTPResponse, urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT))
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answers {error.code} {error.reason}"
        if error.code == 416:  # the file is shorter than `part`: start again
            part.unlink()
        if error.code >= 500 or error.code in (408, 416, 429):
            raise ConnectionLost(reason) from error
        raise UserError(f"{remote.url} cannot be fetched: {reason}; get the file elsewhere and give its path") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror | ConnectionRefusedError):
            host = urlsplit(remote.url).netloc
            raise UserError(f"{host} cannot be reached ({error.reason}); check the network, or get {remote.url} elsewhere") from error
        raise ConnectionLost(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionLost(str(error) or type(error).__name__) from error


def _receive(response: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionLost(str(error) or type(error).__name__) from error


def _wrong_file(remote: RemoteFile, part: Path, received: str) -> UserError:
    """Delete content that is not the published file, and return the error."""
    part.unlink(missing_ok=True)
    return UserError(
        f"{remote.url} is not the published file: {received}, published were {remote.size} bytes; "
        "try again later, or get the file elsewhere and give its path"
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
