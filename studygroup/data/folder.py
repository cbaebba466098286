"""A folder of images, one sub-folder per class.

    photos/cat/1.jpg  photos/dog/x/2.png ...                 divided at random into training and test set
    photos/train/cat/1.jpg ...  photos/test/cat/2.jpg ...    with a test set of its own

`train` may also be called `training`, and `test` `testing` or, if there is none, `val`, `valid` or `validation`, in any case. Classes are
sorted by name; images may lie at any depth below their class. Hidden files and folders, files whose suffix is not an image format's, and
files beside the class folders are left out.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup.data.fingerprint import fingerprints
from studygroup.data.images import GREY_MODES, BrokenImage, decode, decoding, list_images, mode
from studygroup.data.pool import in_threads
from studygroup.data.preprocess import Augment
from studygroup.data.source import Chunk, Contents, Part, Request
from studygroup.errors import UserError

DEFAULT_SIZE = 32
CHUNK = 1 << 23
"""Bytes of images that are decoded before they are written."""
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One image file: its path relative to the folder, with `/`, and its label."""

    name: str
    label: int


class Folder:
    """The images below `request.path`."""

    augment: Augment = "crop+flip"

    def __init__(self, request: Request) -> None:
        if request.path is None or not request.path.is_dir():
            raise UserError(f"{request.path} does not exist; give a folder with one sub-folder of images per class")
        self.root = request.path
        self.name = self.root.resolve().name or "folder"
        self.request = request
        self.classes, self.samples = scan(self.root)

    def key(self) -> str:
        """See `Source`."""
        content = (
            self.classes,
            self.shape,
            [(split, sample.name, digest) for split, sample, (digest, _) in zip(*self._listed, self._facts, strict=True)],
        )
        return hashlib.blake2b(repr(content).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()

    def read(self) -> Contents:
        """See `Source`."""
        broken: list[str] = []
        parts = {split: Part(len(samples), self._decode(samples, broken)) for split, samples in self.samples.items()}
        return Contents(self.classes, self.shape, np.dtype(np.uint8), parts, broken)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the prepared images. Unless asked for, grey only if every image is; the headers tell."""
        grey = all(header in GREY_MODES for _, header in self._facts if header)
        size = self.request.image_size or DEFAULT_SIZE
        return self.request.channels or (1 if grey else 3), size, size

    @cached_property
    def _listed(self) -> tuple[list[str], list[Sample]]:
        """The split and the sample, for all samples."""
        pairs = [(split, sample) for split, samples in self.samples.items() for sample in samples]
        return [split for split, _ in pairs], [sample for _, sample in pairs]

    @cached_property
    def _facts(self) -> list[tuple[str, str]]:
        """Content hash and pixel format of each of them."""
        names = [sample.name for sample in self._listed[1]]
        with decoding():
            return fingerprints(self.root, names, self.request.cache, purpose="folder", examine=mode, progress=self.request.progress)

    def _decode(self, samples: list[Sample], broken: list[str]) -> Iterator[Chunk]:
        """The images in chunks (n, C, H, W), with their labels (n,); the names of unreadable ones are appended to `broken`."""

        def load(sample: Sample) -> NDArray[np.uint8] | None:
            try:
                return decode(self.root / sample.name, self.shape)
            except BrokenImage:
                return None

        step = max(CHUNK // int(np.prod(self.shape)), 1)
        with decoding():
            loaded = zip(samples, in_threads(load, samples), strict=True)
            while some := list(islice(loaded, step)):
                broken += [_text(sample.name) for sample, image in some if image is None]
                good = [(image, sample.label) for sample, image in some if image is not None]
                if good:
                    yield np.stack([image for image, _ in good]), np.array([label for _, label in good], dtype=np.int64)


def _text(name: str) -> str:
    """A file's name as it can be written anywhere, whatever bytes it has."""
    return name.encode("utf-8", "replace").decode("utf-8")


def scan(root: Path) -> tuple[tuple[str, ...], dict[str, list[Sample]]]:
    """Find the classes of a folder and its images.

    Returns:
        The classes, sorted, and the samples by split: `train` and `test`, or `train` alone for one tree.

    Raises:
        UserError: there are no classes, only one, an empty one, or other ones for the test than for training.
    """
    inside = {name.lower(): name for name in folders(root)}
    parts = [part for part in (*TRAIN_NAMES, *TEST_NAMES) if part in inside and folders(root / inside[part])]
    train = next((inside[part] for part in parts if part in TRAIN_NAMES), None)
    test = next((inside[part] for part in parts if part in TEST_NAMES), None)
    if train is None:
        if parts and len(parts) == len(inside):
            raise UserError(f"{root} has {test}/, but no train/; give {root / str(test)} if that holds the classes")
        classes, samples = tree(root, "")
        return classes, {"train": samples}
    if test is None:
        raise UserError(f"{root} has {train}/, but no test/ with a folder per class; add it, or give {root / train} to have that divided")
    if left := sorted(set(folders(root)) - {train, test}):
        logger.warning("not used in %s beside %s/ and %s/: %s", root, train, test, ", ".join(left))
    (classes, learned), (tested, held) = tree(root, f"{train}/"), tree(root, f"{test}/")
    if classes != tested:
        one = min(set(classes) ^ set(tested))
        there, missing = (train, test) if one in classes else (test, train)
        raise UserError(f"the classes of {root} differ: {one!r} is in {there}/, but not in {missing}/; both need the same sub-folders")
    return classes, {"train": learned, "test": held}


def tree(root: Path, prefix: str) -> tuple[tuple[str, ...], list[Sample]]:
    """The classes in `root/prefix` and their images, class by class."""
    place = root / prefix
    classes = tuple(folders(place))
    if strange := [name for name in classes if _text(name) != name]:
        raise UserError(f"{_text(str(place / strange[0]))} has a name that is not UTF-8; rename it")
    if not classes:
        hint = "its images lie in it directly; " if list_images(place) else ""
        raise UserError(f"{place} has no sub-folders; {hint}give a folder with one sub-folder of images per class")
    found = {name: list_images(place / name) for name in classes}
    if not any(found.values()):
        raise UserError(f"{place} has no images; give a folder with one sub-folder of images per class")
    if empty := [name for name, images in found.items() if not images]:
        raise UserError(f"class {empty[0]!r} of {place} has no images; add some or remove the folder")
    if len(classes) == 1:
        raise UserError(f"{place} has the single class {classes[0]!r}; at least two are needed")
    return classes, [Sample(f"{prefix}{name}/{image}", label) for label, name in enumerate(classes) for image in found[name]]


def folders(place: Path) -> list[str]:
    """The folders in a folder, sorted; hidden ones are left out."""
    try:
        return sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}; change its permissions") from error
