"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 60,000 colour photos of 32 x 32 pixels, from the published python archives.

An archive is a gzipped tar of one folder of pickles, written by Python 2: dictionaries with byte strings as keys, `data` (n, 3072) uint8
(the red, then the green, then the blue plane, each row by row) and `labels`, for CIFAR-100 `fine_labels`. A pickle can run code, so what
may be in these is limited to arrays and plain values; an archive is never unpacked to the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.download import RemoteFile, fetch, verify_checksum
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.images.transform import Augment
from studygroup.data.source import RawDataset, RawSplit, ReadOptions
from studygroup.errors import UserError

SHAPE = (3, 32, 32)
MAX_MEMBER, MAX_TOTAL, MAX_REST = 1 << 28, 1 << 30, 1 << 20
"""Bytes: of one file in an archive, of all of them, and of what may follow the last."""


@dataclass(frozen=True)
class CifarSet:
    """What is published of one data set: the archive, the folder in it, its files by split, where labels and class names are."""

    remote: RemoteFile
    folder: str
    files: dict[str, tuple[str, ...]]
    labels: str
    meta: str
    names: str
    classes: int


HOST = "https://www.cs.toronto.edu/~kriz/"
CIFAR_SETS = {
    "cifar10": CifarSet(
        RemoteFile(HOST + "cifar-10-python.tar.gz", 170498071, "c58f30108f718f92721af3b95e74349a"),
        "cifar-10-batches-py",
        {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        labels="labels",
        meta="batches.meta",
        names="label_names",
        classes=10,
    ),
    "cifar100": CifarSet(
        RemoteFile(HOST + "cifar-100-python.tar.gz", 169001437, "eb9058c3a382ffc7106e4002c42a8d85"),
        "cifar-100-python",
        {"train": ("train",), "test": ("test",)},
        labels="fine_labels",
        meta="meta",
        names="fine_label_names",
        classes=100,
    ),
}


class Cifar:
    """CIFAR-10 or CIFAR-100: an archive, a folder with the archive or with its unpacked folder, or what was fetched before."""

    augment: Augment = "crop+flip"

    def __init__(self, name: str, options: ReadOptions) -> None:
        self.name = name
        self.known = CIFAR_SETS[name]
        self.cache = options.cache
        self.fetched = options.cache / "downloads" / name
        self.place = self._find(options)

    def key(self) -> str:
        """See `Source`."""
        folder, names = (self.place.parent, [self.place.name]) if self.place.is_file() else (self.place, self._wanted())
        found = fingerprints(folder, names, self.cache, purpose=self.name, progress=False)
        return hashlib.blake2b("\n".join(digest for digest, _ in found).encode(), digest_size=16).hexdigest()

    def read(self) -> RawDataset:
        """See `Source`."""
        known = self.known
        if self.place.is_file():
            verify_checksum(self.known.remote, self.place, self.fetched)
            tables = dict(read_archive(self.place, known.folder, self._wanted()))
        else:
            tables = {name: read_file(self.place / name) for name in self._wanted()}
        if missing := [name for name in self._wanted() if name not in tables]:
            raise UserError(f"{self.place} has no {known.folder}/{missing[0]}; give the published {known.remote.name}")
        names = tables[known.meta].get(known.names)
        if not isinstance(names, list) or len(names) != known.classes:
            raise UserError(f"{self.place}: {known.meta} does not name {known.classes} classes; give the published {known.remote.name}")
        classes = tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)
        parts = {}
        for split, files in known.files.items():
            samples = [self._samples(file, tables[file]) for file in files]
            parts[split] = RawSplit(sum(len(labels) for _, labels in samples), iter(samples))
        return RawDataset(classes, SHAPE, np.dtype(np.uint8), parts)

    def _wanted(self) -> list[str]:
        return [file for files in self.known.files.values() for file in files] + [self.known.meta]

    def _samples(self, file: str, table: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images (n, 3, 32, 32) and labels (n,) of one file."""
        data, labels = table.get("data"), table.get(self.known.labels)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != np.prod(SHAPE):
            raise UserError(f"{self.place}: {file} has no array of images with {np.prod(SHAPE)} bytes each")
        if not isinstance(labels, list) or len(labels) != len(data):
            raise UserError(f"{self.place}: {file} has {len(data)} images, but not as many {self.known.labels}")
        if not all(isinstance(label, int) and 0 <= label < self.known.classes for label in labels):
            raise UserError(f"{self.place}: {file} has {self.known.labels} that are not from 0 to {self.known.classes - 1}")
        return np.ascontiguousarray(data).reshape(-1, *SHAPE), np.array(labels, dtype=np.int64)

    def _find(self, options: ReadOptions) -> Path:
        """The archive or the unpacked folder."""
        archive = self.known.remote.name
        if options.path is None:
            if options.download:
                return fetch(self.known.remote, self.fetched, options.cache, progress=options.progress)
            if (self.fetched / archive).is_file():
                return self.fetched / archive
            raise UserError(f"{self.name} is not there; fetch it with --download, or give {archive} as {self.name}:PATH")
        path = options.path
        if path.is_file() or (path / self.known.meta).is_file():
            return self._complete(path)
        for place in (path / self.known.folder, path / archive):
            if place.exists():
                return self._complete(place)
        if not path.exists():
            raise UserError(f"{path} does not exist; give the published {archive}, or fetch it with --download and no path")
        raise UserError(f"{path} holds neither {archive} nor {self.known.folder}/; give the published archive, or its folder")

    def _complete(self, place: Path) -> Path:
        if place.is_dir() and (missing := [name for name in self._wanted() if not (place / name).is_file()]):
            raise UserError(f"{place} has no {missing[0]}; unpack {self.known.remote.name} again, or give the archive itself")
        return place


def read_archive(path: Path, folder: str, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The wanted files of an archive: name and content, in the archive's order.

    Raises:
        UserError: the archive is damaged, or has anything in it that does not belong into one.
    """
    total = 0
    try:
        with gzip.open(path) as unzipped:
            with tarfile.open(fileobj=unzipped, mode="r|") as archive:
                for member in archive:
                    name = PurePosixPath(member.name)
                    if name.is_absolute() or ".." in name.parts or "\\" in member.name or not (member.isfile() or member.isdir()):
                        raise UserError(f"{path} is refused: {member.name!r} in it points out of the archive or is no plain file")
                    total += member.size
                    if member.size > MAX_MEMBER or total > MAX_TOTAL:
                        raise UserError(f"{path} is refused: {member.name!r} in it is far larger than published")
                    if name.parent == PurePosixPath(folder) and name.name in wanted:
                        file = archive.extractfile(member)
                        if file is not None:
                            yield name.name, load(file, f"{path}: {name.name}")
            # To the very end, where gzip compares its checksum.
            if len(unzipped.read(MAX_REST)) == MAX_REST:
                raise UserError(f"{path} is refused: much follows the last file in it")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged or no tar.gz archive ({' '.join(str(error).split())}); get it again") from error


def read_file(path: Path) -> dict[str, Any]:
    """The content of an unpacked file."""
    try:
        with path.open("rb") as file:
            return load(file, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def load(file: IO[bytes], name: str) -> dict[str, Any]:
    """A pickled dictionary, its keys as text.

    Raises:
        UserError: it asks for anything but arrays and plain values, or is damaged.
    """
    try:
        content = Restricted(file).load()
    except Refused as error:
        raise UserError(f"{name} is refused: it asks for {error}, which no CIFAR file needs and which could run code") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{name} is damaged ({' '.join(str(error).split()) or type(error).__name__}); get it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{name} holds no dictionary; is it a CIFAR file?")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}


class Refused(pickle.UnpicklingError):
    """A pickle that asks for something it has no need of."""


class Restricted(pickle.Unpickler):
    """An unpickler that knows arrays of plain numbers and byte strings, and no other class or function."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may ask for."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct()
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes byte strings for Python 2
            return _encode()
        if module in ("builtins", "__builtin__") and name in ("bytes", "bytearray", "list", "dict", "tuple", "set", "frozenset"):
            return {kind.__name__: kind for kind in (bytes, bytearray, list, dict, tuple, set, frozenset)}[name]
        raise Refused(f"{module}.{name}")


# Each call makes a new function, as a pickle can set attributes of what it is given.
def _reconstruct() -> Callable[..., Any]:
    def reconstruct(kind: object, shape: object, code: object) -> NDArray[Any]:
        if kind is not np.ndarray or shape != (0,):
            raise Refused("an array of another kind")
        return np.ndarray((0,), dtype=np.uint8)

    return reconstruct


def _encode() -> Callable[..., Any]:
    def encode(text: str, encoding: str | bytes = "latin1") -> bytes:
        if encoding not in ("latin1", b"latin1"):
            raise Refused(f"the encoding {encoding!r}")
        return text.encode("latin1")

    return encode
