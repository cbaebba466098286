"""Published archives (tar.gz), read sequentially without being unpacked: no path in them is used as a path."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from studygroup.data.source import Meter
from studygroup.data.texts.files import BUFFER, MeteredFile
from studygroup.errors import UserError

MAX_TRAILING = 1 << 20
"""Bytes that may follow the last file of an archive."""


class MemberFile(io.RawIOBase):
    """A file in an archive, as a raw file for `BufferedReader`: tarfile's own does not work on a stream that is not seekable."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer."""
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def archive_files(path: Path, select: Callable[[PurePosixPath], bool], meter: Meter) -> Iterator[tuple[PurePosixPath, BinaryIO, int]]:
    """Yield name, content (to be read before the next file) and size in bytes of the selected files, in the archive's order.

    Use it within `read_errors`, which converts the errors of a damaged archive. Links, devices and folders are ignored. The archive is
    read to its end, where gzip compares its checksum.

    Args:
        path: the archive.
        select: returns whether to yield the file of a name.
        meter: counts the archive's bytes.
    """
    with io.BufferedReader(MeteredFile(path, meter), BUFFER) as raw, gzip.open(raw) as unzipped:
        with tarfile.open(fileobj=unzipped, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else all are kept in memory: of IMDb's a hundred thousand
                name = PurePosixPath(member.name)
                if member.isreg() and select(name):
                    file = archive.extractfile(member)
                    if file is not None:
                        yield name, io.BufferedReader(MemberFile(file), BUFFER), member.size
        if len(unzipped.read(MAX_TRAILING)) == MAX_TRAILING:
            raise UserError(f"{path} is refused: too much data follows the last file in it; get it again")


def locate(path: Path, archive: str, folder: str, contents: Sequence[str]) -> Path:
    """Return the archive or the unpacked folder at a path.

    Args:
        path: an archive of any name, an unpacked folder, or a folder that contains one of them.
        archive: published name of the archive.
        folder: name of the folder in it.
        contents: files or folders that must be in that folder.

    Raises:
        UserError: neither is there.
    """
    if path.is_file():
        return path
    for candidate in (path, path / folder):
        if all((candidate / name).exists() for name in contents):
            return candidate
    if (path / archive).is_file():
        return path / archive
    if not path.exists():
        raise UserError(f"{path} does not exist; give the published {archive}, or the folder {folder} that is in it")
    raise UserError(f"{path} holds neither {archive} nor {' and '.join(contents)}; give the published archive, or its folder {folder}")
