"""MNIST (LeCun, Cortes and Burges) and Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): grey images in the idx format.

An idx file is big-endian: the magic number 0x801 (labels) or 0x803 (images), the number of items, for images their height and width,
and one byte per label or pixel. The files may be gzipped.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.download import RemoteFile, download_dir, fetch
from studygroup.data.cache.fingerprint import files_digest
from studygroup.data.source import Chunk, ImageSource, RawImages, RawSplit
from studygroup.errors import UserError, one_line
from studygroup.options import DataOptions

DEBIAN = Path("/usr/share/datasets")
FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
CHUNK = 1 << 23
MNIST_HOST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_HOST = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


class Idx(ImageSource):
    """A data set in four idx files: in the given folder, else in that of Debian's package, else in that of an earlier download.

    Attributes:
        classes: names, in the order of the labels.
        remote: the files as published.
        debian_package: Debian's package of the data set.
    """

    classes: ClassVar[tuple[str, ...]]
    remote: ClassVar[tuple[RemoteFile, ...]]
    debian_package: ClassVar[str | None] = None

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        self.folder, self.files = self._find()

    def key(self) -> str:
        """See `Source`."""
        names = [path.name for pair in self.files.values() for path in pair]
        return files_digest(self.folder, names, self.cache, purpose=self.name)

    def read(self) -> RawImages:
        """See `Source`."""
        splits, shapes = {}, {}
        for split, (images, labels) in self.files.items():
            rows, height, width = read_header(images, 0x803)
            classes = read_labels(labels, len(self.classes))
            if len(classes) != rows:
                raise UserError(f"{images} has {rows} images, but {labels} has {len(classes)} labels; get both from the same place")
            splits[split] = RawSplit(read_images(images, classes), rows)
            shapes[split] = (1, height, width)
        if shapes["train"] != shapes["test"]:
            raise UserError(f"the images in {self.folder} are {shapes['train'][1:]} for training and {shapes['test'][1:]} for the test")
        return RawImages(classes=self.classes, splits=splits, shape=shapes["train"])

    def _find(self) -> tuple[Path, dict[str, tuple[Path, Path]]]:
        """Return the folder, and the files of images and labels in it by split."""
        path, downloads = self.path, download_dir(self)
        if path is not None and not path.is_dir():
            raise UserError(f"{path} is not a folder; give the one with {FILES['train'][0]}.gz and the other files of {self.name}")
        folders = [DEBIAN / self.name, downloads] if path is None else [path]
        if path is None and self.options.download and not any(all(find_files(folder).values()) for folder in folders):
            for file in self.remote:
                fetch(file, downloads, self.cache, progress=self.options.progress)
        missing = ""
        for folder in folders:
            found = find_files(folder)
            complete = {stem: file for stem, file in found.items() if file is not None}
            if len(complete) == len(found):
                return folder, {split: (complete[images], complete[labels]) for split, (images, labels) in FILES.items()}
            missing = next(stem for stem, file in found.items() if file is None)
        if path is not None:
            raise UserError(f"{path} has no {missing}.gz (or {missing}); give the folder with the four files of {self.name}")
        package = f"install Debian's package {self.debian_package}, " if self.debian_package else ""
        raise UserError(f"{self.name} is not there; fetch it with --download, {package}or give its folder as {self.name}:FOLDER")


class Mnist(Idx):
    """MNIST."""

    name = "mnist"
    description = "70,000 handwritten digits, 28x28, grey, 10 classes; a folder of idx files, or --download"
    flips = False
    classes = tuple("0123456789")
    remote = (
        RemoteFile(MNIST_HOST + "train-images-idx3-ubyte.gz", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        RemoteFile(MNIST_HOST + "train-labels-idx1-ubyte.gz", 28881, "d53e105ee54ea40749a09fcbcd1e9432"),
        RemoteFile(MNIST_HOST + "t10k-images-idx3-ubyte.gz", 1648877, "9fb629c4189551a2d022fa330f9573f3"),
        RemoteFile(MNIST_HOST + "t10k-labels-idx1-ubyte.gz", 4542, "ec29112dd5afa0611ce80d1b7f02629c"),
    )


class FashionMnist(Idx):
    """Fashion-MNIST."""

    name = "fashion-mnist"
    description = "70,000 pieces of clothing, 28x28, grey, 10 classes; a folder of idx files, Debian's package, or --download"
    flips = True
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    remote = (
        RemoteFile(FASHION_HOST + "train-images-idx3-ubyte.gz", 26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        RemoteFile(FASHION_HOST + "train-labels-idx1-ubyte.gz", 29515, "25c81989df183df01b3e8a0aad5dffbe"),
        RemoteFile(FASHION_HOST + "t10k-images-idx3-ubyte.gz", 4422102, "bef4ecab320f06d8554ea6380940ec79"),
        RemoteFile(FASHION_HOST + "t10k-labels-idx1-ubyte.gz", 5148, "bb300cfdad3c16e7a12a480ee83cd310"),
    )
    debian_package = "dataset-fashion-mnist"


def find_files(folder: Path) -> dict[str, Path | None]:
    """Find the four files in a folder by their stems, gzipped or not; some mirrors write `.idx` for `-idx`."""

    def find(stem: str) -> Path | None:
        names = (stem + ".gz", stem, stem.replace("-idx", ".idx") + ".gz", stem.replace("-idx", ".idx"))
        return next((folder / name for name in names if (folder / name).is_file()), None)

    return {stem: find(stem) for pair in FILES.values() for stem in pair}


def read_header(path: Path, magic: int) -> tuple[int, ...]:
    """Return the dimensions in the header of an idx file, the number of items first, and check its magic number."""
    with closing(_open(path)) as file:
        return _header(file, path, magic)


def read_labels(path: Path, classes: int) -> NDArray[np.int64]:
    """Read the labels (N,) of an idx file, each below `classes`."""
    with closing(_open(path)) as file:
        (rows,) = _header(file, path, 0x801)
        labels = np.frombuffer(_read(file, rows, path), dtype=np.uint8).astype(np.int64)
        _check_end(file, path)
    if rows and labels.max() >= classes:
        raise UserError(f"{path} has the label {labels.max()}, but there are {classes} classes; is it another data set's?")
    return labels


def read_images(path: Path, labels: NDArray[np.int64]) -> Iterator[Chunk]:
    """Yield the images (n, 1, H, W) of an idx file in chunks, with their labels."""
    with closing(_open(path)) as file:
        rows, height, width = _header(file, path, 0x803)
        step = max(CHUNK // (height * width), 1)
        for start in range(0, rows, step):
            n = min(step, rows - start)
            images = np.frombuffer(_read(file, n * height * width, path), dtype=np.uint8)
            yield images.reshape(n, 1, height, width), labels[start : start + n]
        _check_end(file, path)


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
        raise UserError(f"{path} has the size {'x'.join(map(str, sizes))} in its header: it is empty; get the file again")
    return tuple(sizes)


def _read(file: BinaryIO, size: int, path: Path) -> bytes:
    try:
        data = file.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); get the file again") from error
    if len(data) < size:
        raise UserError(f"{path} ends too early; get the file again")
    return data


def _check_end(file: BinaryIO, path: Path) -> None:
    """Check that no data follows; this also makes gzip compare its checksum."""
    try:
        trailing = file.read(1)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); get the file again") from error
    if trailing:
        raise UserError(f"{path} goes on after the size in its header; get the file again")
