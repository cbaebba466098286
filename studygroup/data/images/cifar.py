"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 60,000 colour photos of 32 x 32 pixels, from the published Python archives.

An archive is a gzipped tar of one folder of pickles, written by Python 2: dictionaries with byte strings as keys, `data` (n, 3072) uint8
(the red, then the green, then the blue plane, each row by row) and `labels`, for CIFAR-100 `fine_labels`. A pickle can run code, so these
may only contain arrays and plain values; an archive is never unpacked to the disk.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

import numpy as np

from studygroup.data.cache.download import RemoteFile, download_dir, find_download, verify_checksum
from studygroup.data.cache.fingerprint import files_digest
from studygroup.data.images import pickles
from studygroup.data.source import Chunk, ImageSource, RawImages, RawSplit
from studygroup.errors import UserError, one_line
from studygroup.options import DataOptions

SHAPE = (3, 32, 32)
MAX_MEMBER, MAX_TOTAL, MAX_TRAILING = 1 << 28, 1 << 30, 1 << 20
"""Bytes: of one file in an archive, of all of them, and of what may follow the last."""
HOST = "https://www.cs.toronto.edu/~kriz/"


class Cifar(ImageSource):
    """A published archive, a folder with the archive or with its unpacked folder, or an earlier download.

    Attributes:
        remote: the archive as published.
        folder: name of the folder in it.
        train_files: names of the files in that folder with the training set.
        test_files: those with the test set.
        label_key: key of the labels in them.
        meta_file: name of the file with the names of the classes.
        class_key: key of these names in it.
        class_count: number of classes.
    """

    flips = True
    remote: ClassVar[RemoteFile]
    folder: ClassVar[str]
    train_files: ClassVar[tuple[str, ...]]
    test_files: ClassVar[tuple[str, ...]]
    label_key: ClassVar[str]
    meta_file: ClassVar[str]
    class_key: ClassVar[str]
    class_count: ClassVar[int]

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        self.location = find_download(self.remote, self) if path is None else self._find(path)
        self.names = [*self.train_files, *self.test_files, self.meta_file]
        if self.location.is_dir() and (missing := [name for name in self.names if not (self.location / name).is_file()]):
            raise UserError(f"{self.location} has no {missing[0]}; unpack {self.remote.name} again, or give the archive itself")

    def key(self) -> str:
        """See `Source`."""
        return files_digest(self.location, self.names, self.cache, purpose=self.name)

    def read(self) -> RawImages:
        """See `Source`."""
        if self.location.is_file():
            verify_checksum(self.remote, self.location, download_dir(self))
            tables = dict(read_archive(self.location, self.folder, self.names))
        else:
            tables = {name: read_file(self.location / name) for name in self.names}
        if missing := [name for name in self.names if name not in tables]:
            raise UserError(f"{self.location} has no {self.folder}/{missing[0]}; give the published {self.remote.name}")
        names = tables[self.meta_file].get(self.class_key)
        if not isinstance(names, list) or len(names) != self.class_count:
            raise UserError(
                f"{self.location}: {self.meta_file} does not name {self.class_count} classes; give the published {self.remote.name}"
            )
        if not all(isinstance(name, str | bytes) for name in names):
            raise UserError(f"{self.location}: the class names in {self.meta_file} are no texts; give the published {self.remote.name}")
        classes = tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names)
        splits = {}
        for split, files in (("train", self.train_files), ("test", self.test_files)):
            samples = [self._samples(file, tables[file]) for file in files]
            splits[split] = RawSplit(iter(samples), sum(len(labels) for _, labels in samples))
        return RawImages(classes=classes, splits=splits, shape=SHAPE)

    def _samples(self, file: str, table: dict[str, Any]) -> Chunk:
        """Return the images (n, 3, 32, 32) and labels (n,) of one file."""
        data, labels = table.get("data"), table.get(self.label_key)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != np.prod(SHAPE):
            raise UserError(f"{self.location}: {file} has no array of images with {np.prod(SHAPE)} bytes each")
        if not isinstance(labels, list) or len(labels) != len(data):
            raise UserError(f"{self.location}: {file} has {len(data)} images, but not as many {self.label_key}")
        if not all(isinstance(label, int) and 0 <= label < self.class_count for label in labels):
            raise UserError(f"{self.location}: {file} has {self.label_key} that are not from 0 to {self.class_count - 1}")
        return np.ascontiguousarray(data).reshape(-1, *SHAPE), np.array(labels, dtype=np.int64)

    def _find(self, path: Path) -> Path:
        """Return the archive or the unpacked folder at a path."""
        if path.is_file() or (path / self.meta_file).is_file():
            return path
        for inside in (path / self.folder, path / self.remote.name):
            if inside.exists():
                return inside
        if not path.exists():
            raise UserError(f"{path} does not exist; give the published {self.remote.name}, or fetch it with --download and no path")
        raise UserError(f"{path} holds neither {self.remote.name} nor {self.folder}/; give the published archive, or its folder")


class Cifar10(Cifar):
    """CIFAR-10."""

    name = "cifar10"
    description = "60,000 photos, 32x32, colour, 10 classes; the published Python archive, or --download"
    remote = RemoteFile(HOST + "cifar-10-python.tar.gz", 170498071, "c58f30108f718f92721af3b95e74349a")
    folder = "cifar-10-batches-py"
    train_files = tuple(f"data_batch_{i}" for i in range(1, 6))
    test_files = ("test_batch",)
    label_key = "labels"
    meta_file = "batches.meta"
    class_key = "label_names"
    class_count = 10


class Cifar100(Cifar):
    """CIFAR-100."""

    name = "cifar100"
    description = "60,000 photos, 32x32, colour, 100 classes; the published Python archive, or --download"
    remote = RemoteFile(HOST + "cifar-100-python.tar.gz", 169001437, "eb9058c3a382ffc7106e4002c42a8d85")
    folder = "cifar-100-python"
    train_files = ("train",)
    test_files = ("test",)
    label_key = "fine_labels"
    meta_file = "meta"
    class_key = "fine_label_names"
    class_count = 100


def read_archive(path: Path, folder: str, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and content of some files of an archive, in the archive's order.

    Raises:
        UserError: the archive is damaged, or contains anything but plain files and folders of the usual size.
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
                    if name.parent == PurePosixPath(folder) and name.name in names:
                        file = archive.extractfile(member)
                        if file is not None:
                            yield name.name, load(file, f"{path}: {name.name}")
            # Read to the end, where gzip compares its checksum.
            if len(unzipped.read(MAX_TRAILING)) == MAX_TRAILING:
                raise UserError(f"{path} is refused: too much data follows the last file in it")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged or no tar.gz archive ({one_line(error)}); get it again") from error


def read_file(path: Path) -> dict[str, Any]:
    """Read an unpacked file."""
    try:
        with path.open("rb") as file:
            return load(file, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def load(file: IO[bytes], name: str) -> dict[str, Any]:
    """Unpickle a dictionary, with its keys as text.

    Raises:
        UserError: it contains anything but arrays and plain values, or is damaged.
    """
    try:
        content = pickles.load(file.read())
    except pickles.ForbiddenPickle as error:
        raise UserError(f"{name} is refused: it needs {error}, which no CIFAR file does and which could run code") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{name} is damaged ({one_line(error) or type(error).__name__}); get it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{name} holds no dictionary; is it a CIFAR file?")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}
