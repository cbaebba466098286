"""A folder of images, one sub-folder per class (see `class_folders`). Files whose suffix is not an image format's are left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import Kind, Sample, as_text, scan
from studygroup.data.images.decode import GREY_MODES, BrokenImage, decode, decoding, list_images, mode
from studygroup.data.images.transform import Augment
from studygroup.data.pool import thread_map
from studygroup.data.source import Chunk, RawDataset, RawSplit, ReadOptions
from studygroup.errors import UserError

DEFAULT_SIZE = 32
CHUNK = 1 << 23
"""Bytes of images that are decoded before they are written."""
IMAGES = Kind("image", list_images)


class Folder:
    """The images below `request.path`."""

    augment: Augment = "crop+flip"

    def __init__(self, options: ReadOptions) -> None:
        if options.path is None or not options.path.is_dir():
            raise UserError(f"{options.path} does not exist; give a folder with one sub-folder of images per class")
        self.root = options.path
        self.name = self.root.resolve().name or "folder"
        self.options = options
        self.classes, self.samples = scan(self.root, IMAGES)

    def key(self) -> str:
        """See `Source`."""
        content = (
            self.classes,
            self.shape,
            [(split, sample.name, digest) for split, sample, (digest, _) in zip(*self._listed, self._facts, strict=True)],
        )
        return hashlib.blake2b(repr(content).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()

    def read(self) -> RawDataset:
        """See `Source`."""
        broken: list[str] = []
        parts = {split: RawSplit(len(samples), self._decode(samples, broken)) for split, samples in self.samples.items()}
        return RawDataset(self.classes, self.shape, np.dtype(np.uint8), parts, broken)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the prepared images. Unless asked for, grey only if every image is; the headers tell."""
        grey = all(header in GREY_MODES for _, header in self._facts if header)
        size = self.options.image_size or DEFAULT_SIZE
        return self.options.channels or (1 if grey else 3), size, size

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
            return fingerprints(self.root, names, self.options.cache, purpose="folder", examine=mode, progress=self.options.progress)

    def _decode(self, samples: list[Sample], broken: list[str]) -> Iterator[Chunk]:
        """The images in chunks (n, C, H, W), with their labels (n,); the names of unreadable ones are appended to `broken`."""

        def load(sample: Sample) -> NDArray[np.uint8] | None:
            try:
                return decode(self.root / sample.name, self.shape)
            except BrokenImage:
                return None

        step = max(CHUNK // int(np.prod(self.shape)), 1)
        with decoding():
            loaded = zip(samples, thread_map(load, samples), strict=True)
            while some := list(islice(loaded, step)):
                broken += [as_text(sample.name) for sample, image in some if image is None]
                good = [(image, sample.label) for sample, image in some if image is not None]
                if good:
                    yield np.stack([image for image, _ in good]), np.array([label for _, label in good], dtype=np.int64)
