"""Folders of images or texts that are packed in an archive: unpacked into the cache, once.

<cache>/unpacked/<name>-<hash>/files/     the images and texts of the archive, and nothing else

Archives are not trusted: nothing is written outside of that folder, links and devices are refused, and what is unpacked is bounded.
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache as remembered
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from studygroup.data.cache.disk import check_room, size_text
from studygroup.data.cache.entries import cache_dir, cached
from studygroup.data.cache.fingerprint import files_digest
from studygroup.data.class_folders import FileKind, FolderContent, folders, ignored
from studygroup.errors import UserError, one_line
from studygroup.escape import shortened
from studygroup.regular import open_regular

DECOMPRESS: dict[str, Callable[[io.BufferedReader], io.BufferedIOBase]] = {
    ".tar": lambda file: file,
    ".tar.gz": lambda file: gzip.GzipFile(fileobj=file),
    ".tgz": lambda file: gzip.GzipFile(fileobj=file),
    ".tar.bz2": bz2.BZ2File,
    ".tar.xz": lzma.LZMAFile,
}
ZIP = ".zip"
SUFFIXES = (ZIP, *DECOMPRESS)
EXPANSION, MARGIN = 200, 1 << 30
"""An archive may unpack to so many times its size, plus a gibibyte: more than any images or texts, and less than what fills a disk."""
MAX_FILES = 5_000_000
MAX_NAME = 255
"""Bytes of the longest name of a file."""
CHUNK = 1 << 20
FILES = "files"

logger = logging.getLogger(__name__)


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: its path.
        regular: whether it is a file, not a link, device or pipe.
        size: as the archive says it, in bytes.
        open: opens it, before the next member is taken.
    """

    name: str
    regular: bool
    size: int
    open: Callable[[], IO[bytes]]


class Bounded(io.RawIOBase):
    """A stream that may not be longer than a bound."""

    def __init__(self, file: io.BufferedIOBase, left: int, path: Path) -> None:
        self.file, self.left, self.path = file, left, path
        self.cut_off = False
        """Whether the end was reached, and not by the block of zeros that ends a tar."""
        self._last = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer."""
        data = self.file.read(len(buffer))
        self.left -= len(data)
        if self.left < 0:
            raise too_large(self.path)
        buffer[: len(data)] = data
        self._last = (self._last + data)[-tarfile.BLOCKSIZE :]
        self.cut_off = not data and any(self._last)
        return len(data)


def archive_suffix(path: Path) -> str | None:
    """Return the suffix of an archive, in lower case; None if the file is not named like one."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), None)


def is_archive(path: Path) -> bool:
    """Return whether there is an archive at the path, by its name."""
    return archive_suffix(path) is not None and path.is_file()


def archive_name(path: Path) -> str:
    """Return the name of an archive without its suffix."""
    return path.name[: -len(archive_suffix(path) or "")]


def suffixes_in(path: Path) -> frozenset[str]:
    """Return the suffixes of the files in an archive that are in a folder, in lower case.

    Raises:
        UserError: it cannot be read.
    """
    state = path.stat()
    return _suffixes_in(path.resolve(), state.st_size, state.st_mtime_ns)


@remembered
def _suffixes_in(path: Path, size: int, modified: int) -> frozenset[str]:
    names = (PurePosixPath(member.name) for member in members(path))
    return frozenset(name.suffix.lower() for name in names if len(name.parts) > 1 and not any(map(ignored, name.parts)))


def open_content(path: Path | None, kind: FileKind, cache: Path) -> tuple[str, FolderContent]:
    """Return the name and the labelled files of a folder, or of an archive of one, which is unpacked into the cache.

    Raises:
        UserError: there is neither, or it cannot be used.
    """
    if path is None or not (path.is_dir() or is_archive(path)):
        problem = "is neither a folder nor an archive" if path is not None and path.exists() else "does not exist"
        raise UserError(f"{path} {problem}; give a folder with one sub-folder of {kind.noun}s per class")
    if path.is_dir():
        return path.resolve().name or "folder", FolderContent.scan(path, kind)
    return archive_name(path), FolderContent.scan(unpack(path, kind.suffixes(), cache), kind)


def unpack(path: Path, suffixes: frozenset[str], cache: Path) -> Path:
    """Unpack the files of some kinds, unless that is done, and return the folder with the classes.

    Args:
        path: the archive.
        suffixes: of the files to unpack, in lower case.
        cache: folder of the cache.

    Raises:
        UserError: the archive is damaged, unsafe or too large, or the cache is full or cannot be written.
    """
    key = files_digest(path, (), cache, purpose="archive", prefix=sorted(suffixes))
    home = cache_dir(cache, "unpacked", archive_name(path), key)
    root = cached(home, cache, lambda: home / FILES if (home / FILES).is_dir() else None, partial(_unpack, path, suffixes))
    while len(inside := folders(root)) == 1 and folders(root / inside[0]):  # the folder that was packed
        root = root / inside[0]
    return root


def _unpack(path: Path, suffixes: frozenset[str], folder: Path) -> None:
    left = bound(path)
    if archive_suffix(path) == ZIP:  # else the sizes are not known before
        needed = sum(member.size for member in members(path) if target(path, member, suffixes) is not None)
        if needed > left:
            raise too_large(path)
        check_room(folder, needed, f"to unpack {path.name}")
    logger.info("unpacking %s into the cache", path.name)
    (folder / FILES).mkdir()
    for member in members(path):
        if (inside := target(path, member, suffixes)) is None:
            continue
        place = folder / FILES / inside
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                for chunk in _chunks(path, member):
                    left -= len(chunk)
                    if left < 0:
                        raise too_large(path)
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise UserError(f"{path} holds {shortened(member.name, 80)!r} as a file and as a folder; pack it again") from error


def target(path: Path, member: Member, suffixes: frozenset[str]) -> PurePosixPath | None:
    """Return where a member is written, relative to the folder; None if it is not wanted.

    Raises:
        UserError: the archive is not safe.
    """
    name, shown = PurePosixPath(member.name), shortened(member.name, 80)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise UserError(f"{path} is refused: the path {shown!r} in it leads out of its folder; pack the folder again")
    if name.suffix.lower() not in suffixes or any(map(ignored, name.parts)):
        return None
    if not member.regular:
        raise UserError(f"{path} is refused: {shown!r} in it is a link or a device; pack the files themselves (tar --dereference)")
    if any(len(part.encode("utf-8", "surrogateescape")) > MAX_NAME for part in name.parts):
        raise UserError(f"{path} is refused: the name {shown!r} in it is too long for a file; rename it")
    return name


def members(path: Path) -> Iterator[Member]:
    """Yield the files in an archive, and what else is no folder; each is read before the next is taken.

    Raises:
        UserError: it cannot be read, is damaged, or has more content than it may.
    """
    suffix, count = archive_suffix(path), 0
    with reading(path), open_regular(path) as raw:
        for member in _zip_members(raw) if suffix == ZIP else _tar_members(raw, DECOMPRESS[suffix or ".tar"], path):
            count += 1
            if count > MAX_FILES:
                raise too_large(path)
            yield member


def _zip_members(raw: io.BufferedReader) -> Iterator[Member]:
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            name = info.filename.replace("\\", "/")  # of programs on Windows
            if not name.endswith("/"):
                regular = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                yield Member(name, regular, info.file_size, partial(archive.open, info))


def _tar_members(raw: io.BufferedReader, decompress: Callable[[io.BufferedReader], io.BufferedIOBase], path: Path) -> Iterator[Member]:
    bounded = Bounded(decompress(raw), bound(path), path)
    with io.BufferedReader(bounded, CHUNK) as content, tarfile.open(fileobj=content, mode="r|") as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # else all are kept in memory
            if not info.isdir():
                yield Member(info.name, info.isreg(), info.size, partial(_extract, archive, info))
    if bounded.cut_off:  # which tarfile passes over in silence, except within a file
        raise tarfile.ReadError("it is cut off")


def _extract(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None  # as of everything that is regular
    return file


def _chunks(path: Path, member: Member) -> Iterator[bytes]:
    with reading(path), member.open() as file:
        while chunk := file.read(CHUNK):
            yield chunk


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert errors while an archive is read into a `UserError`."""
    try:
        yield
    except (
        EOFError,
        zlib.error,
        lzma.LZMAError,
        tarfile.TarError,
        zipfile.BadZipFile,
        OSError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error) or type(error).__name__
        raise UserError(f"{path} cannot be unpacked ({reason}); get it again, or unpack it and give the folder") from error


def bound(path: Path) -> int:
    """Return the number of bytes that an archive may unpack to."""
    return EXPANSION * path.stat().st_size + MARGIN


def too_large(path: Path) -> UserError:
    """Return the error of an archive that has more content than it may."""
    return UserError(
        f"{path} is refused: it unpacks to more than {size_text(bound(path))} or {MAX_FILES:,} files, as no images or texts do; "
        "unpack it yourself and give the folder"
    )
