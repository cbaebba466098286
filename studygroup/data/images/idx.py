"""MNIST (LeCun, Cortes and Burges) and Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): grey images in the idx format.

An idx file is big-endian: the magic number 0x801 (labels) or 0x803 (images), the number of items, for images their height and width,
and one byte per label or pixel. The files may be gzipped.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.download import RemoteFile, fetch
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.images.transform import Augment
from studygroup.data.source import Chunk, RawDataset, RawSplit, ReadOptions
from studygroup.errors import UserError

DEBIAN = Path("/usr/share/datasets")
FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
CHUNK = 1 << 23


@dataclass(frozen=True)
class IdxSet:
    """What is published of one data set in idx files."""

    classes: tuple[str, ...]
    augment: Augment
    remote: tuple[RemoteFile, ...]
    package: str | None = None


MNIST_HOST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_HOST = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
IDX_SETS = {
    "mnist": IdxSet(
        tuple("0123456789"),
        "crop",
        (
            RemoteFile(MNIST_HOST + "train-images-idx3-ubyte.gz", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            RemoteFile(MNIST_HOST + "train-labels-idx1-ubyte.gz", 28881, "d53e105ee54ea40749a09fcbcd1e9432"),
            RemoteFile(MNIST_HOST + "t10k-images-idx3-ubyte.gz", 1648877, "9fb629c4189551a2d022fa330f9573f3"),
            RemoteFile(MNIST_HOST + "t10k-labels-idx1-ubyte.gz", 4542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
    "fashion-mnist": IdxSet(
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "crop+flip",
        (
            RemoteFile(FASHION_HOST + "train-images-idx3-ubyte.gz", 26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            RemoteFile(FASHION_HOST + "train-labels-idx1-ubyte.gz", 29515, "25c81989df183df01b3e8a0aad5dffbe"),
            RemoteFile(FASHION_HOST + "t10k-images-idx3-ubyte.gz", 4422102, "bef4ecab320f06d8554ea6380940ec79"),
            RemoteFile(FASHION_HOST + "t10k-labels-idx1-ubyte.gz", 5148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        package="dataset-fashion-mnist",
    ),
}


class Idx:
    """MNIST or Fashion-MNIST: from the folder that was given, else where Debian's package puts it, else fetched before."""

    def __init__(self, name: str, options: ReadOptions) -> None:
        self.name = name
        self.known = IDX_SETS[name]
        self.augment = self.known.augment
        self.cache = options.cache
        self.folder, self.files = self._find(options)

    def key(self) -> str:
        """See `Source`."""
        found = fingerprints(self.folder, [path.name for path in self._paths()], self.cache, purpose=self.name, progress=False)
        return hashlib.blake2b("\n".join(digest for digest, _ in found).encode(), digest_size=16).hexdigest()

    def read(self) -> RawDataset:
        """See `Source`."""
        parts, shapes = {}, {}
        for split, (images, labels) in self.files.items():
            rows, height, width = read_header(images, 0x803)
            classes = read_labels(labels, len(self.known.classes))
            if len(classes) != rows:
                raise UserError(f"{images} has {rows} images, but {labels} has {len(classes)} labels; get both from the same place")
            parts[split] = RawSplit(rows, read_images(images, classes))
            shapes[split] = (1, height, width)
        if shapes["train"] != shapes["test"]:
            raise UserError(f"the images in {self.folder} are {shapes['train'][1:]} for training and {shapes['test'][1:]} for the test")
        return RawDataset(self.known.classes, shapes["train"], np.dtype(np.uint8), parts)

    def _paths(self) -> list[Path]:
        return [path for pair in self.files.values() for path in pair]

    def _find(self, options: ReadOptions) -> tuple[Path, dict[str, tuple[Path, Path]]]:
        fetched = options.cache / "downloads" / self.name
        if options.path is not None:
            if not options.path.is_dir():
                raise UserError(
                    f"{options.path} is not a folder; give the one with {FILES['train'][0]}.gz and the other files of {self.name}"
                )
            places = [options.path]
        else:
            places = [DEBIAN / self.name, fetched]
            if options.download and not any(all(find_file(place, stem) for pair in FILES.values() for stem in pair) for place in places):
                for remote in self.known.remote:
                    fetch(remote, fetched, options.cache, progress=options.progress)
        missing = ""
        for place in places:
            found = {stem: find_file(place, stem) for pair in FILES.values() for stem in pair}
            complete = {stem: path for stem, path in found.items() if path is not None}
            if len(complete) == len(found):
                return place, {split: (complete[images], complete[labels]) for split, (images, labels) in FILES.items()}
            missing = next(stem for stem, path in found.items() if path is None)
        if options.path is not None:
            raise UserError(f"{options.path} has no {missing}.gz (or {missing}); give the folder with the four files of {self.name}")
        package = f"install Debian's package {self.known.package}, " if self.known.package else ""
        raise UserError(f"{self.name} is not there; fetch it with --download, {package}or give its folder as {self.name}:FOLDER")


def find_file(folder: Path, stem: str) -> Path | None:
    """A file of this name in the folder, gzipped or not; some mirrors write `.idx` for `-idx`."""
    names = (stem + ".gz", stem, stem.replace("-idx", ".idx") + ".gz", stem.replace("-idx", ".idx"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_header(path: Path, magic: int) -> tuple[int, ...]:
    """The dimensions that an idx file states, the number of items first; the magic number is checked."""
    with closing(_open(path)) as file:
        return _header(file, path, magic)


def read_labels(path: Path, classes: int) -> NDArray[np.int64]:
    """The labels (N,) of an idx file, each below `classes`."""
    with closing(_open(path)) as file:
        (rows,) = _header(file, path, 0x801)
        labels = np.frombuffer(_read(file, rows, path), dtype=np.uint8).astype(np.int64)
        _end(file, path)
    if rows and labels.max() >= classes:
        raise UserError(f"{path} has the label {labels.max()}, but there are {classes} classes; is it another data set's?")
    return labels


def read_images(path: Path, labels: NDArray[np.int64]) -> Iterator[Chunk]:
    """The images (n, 1, H, W) of an idx file in chunks, with their labels."""
    with closing(_open(path)) as file:
        rows, height, width = _header(file, path, 0x803)
        step = max(CHUNK // (height * width), 1)
        for start in range(0, rows, step):
            n = min(step, rows - start)
            images = np.frombuffer(_read(file, n * height * width, path), dtype=np.uint8)
            yield images.reshape(n, 1, height, width), labels[start : start + n]
        _end(file, path)


def _open(path: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; change its permissions, or give another folder") from error


def _header(file: BinaryIO, path: Path, magic: int) -> tuple[int, ...]:
    dimensions = magic & 0xFF
    found, *sizes = struct.unpack(f">{1 + dimensions}I", _read(file, 4 * (1 + dimensions), path))
    if found != magic:
        raise UserError(
            f"{path} begins with {found:#x}, not {magic:#x}: it is not an idx file of {'images' if dimensions == 3 else 'labels'}"
        )
    if not all(sizes):
        raise UserError(f"{path} states the size {'x'.join(map(str, sizes))}: it is empty; get the file again")
    return tuple(sizes)


def _read(file: BinaryIO, size: int, path: Path) -> bytes:
    try:
        data = file.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); get the file again") from error
    if len(data) < size:
        raise UserError(f"{path} ends too early; get the file again")
    return data


def _end(file: BinaryIO, path: Path) -> None:
    """Nothing may follow. Also makes gzip compare its checksum."""
    try:
        rest = file.read(1)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); get the file again") from error
    if rest:
        raise UserError(f"{path} goes on after what its header states; get the file again")
