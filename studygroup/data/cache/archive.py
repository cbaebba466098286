"""Published archives (tar.gz), read from front to end without being unpacked: no path in them is ever used as one."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from studygroup.data.texts.files import BUFFER, Meter, Metered
from studygroup.errors import UserError

MAX_REST = 1 << 20
"""Bytes that may follow the last file of an archive."""


class Content(io.RawIOBase):
    """A file in an archive, as a file of its own: what tarfile gives cannot be asked whether it can be sought in."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer."""
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def members(path: Path, wanted: Callable[[PurePosixPath], bool], meter: Meter) -> Iterator[tuple[PurePosixPath, BinaryIO, int]]:
    """The wanted plain files of an archive, in its order: name, content (to be read before the next is asked for), bytes.

    To be used within `reading`, which turns the errors of a damaged archive into one for the user. Links, devices and folders are passed
    over. The archive is read to its very end, where gzip compares its checksum.

    Args:
        path: the archive.
        wanted: whether a name is wanted.
        meter: counts the archive's bytes.
    """
    with io.BufferedReader(Metered(path, meter), BUFFER) as raw, gzip.open(raw) as unzipped:
        with tarfile.open(fileobj=unzipped, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else all are kept: of IMDb's a hundred thousand
                name = PurePosixPath(member.name)
                if member.isreg() and wanted(name):
                    file = archive.extractfile(member)
                    if file is not None:
                        yield name, io.BufferedReader(Content(file), BUFFER), member.size
        if len(unzipped.read(MAX_REST)) == MAX_REST:
            raise UserError(f"{path} is refused: much follows the last file in it; get it again")


def locate(path: Path, archive: str, folder: str, inside: Sequence[str]) -> Path:
    """The archive or the unpacked folder at a path that the user gave.

    Args:
        path: either of them, or a folder that has one of them in it.
        archive: the archive's name as published; the user's may be called otherwise.
        folder: the one that is in it.
        inside: what that folder holds.

    Raises:
        UserError: neither is there.
    """
    if path.is_file():
        return path
    for place in (path, path / folder):
        if all((place / name).exists() for name in inside):
            return place
    if (path / archive).is_file():
        return path / archive
    if not path.exists():
        raise UserError(f"{path} does not exist; give the published {archive}, or the folder {folder} that is in it")
    raise UserError(f"{path} holds neither {archive} nor {' and '.join(inside)}; give the published archive, or its folder {folder}")
