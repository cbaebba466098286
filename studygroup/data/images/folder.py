"""A folder of images, one sub-folder per class (see `class_folders`). Files whose suffix is not an image format's are ignored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup.data.archives import open_content
from studygroup.data.cache.entries import digest
from studygroup.data.class_folders import FileKind, Sample, printable
from studygroup.data.images.decode import GREY_MODES, DecodeError, decode, decoding, image_header, suffixes
from studygroup.data.pool import thread_map
from studygroup.data.source import Chunk, ImageSource, RawImages, RawSplit
from studygroup.options import DataOptions

DEFAULT_SIZE = 32
CHUNK = 1 << 23
"""Bytes of images that are decoded before they are written."""
IMAGES = FileKind("image", suffixes)


class Folder(ImageSource):
    """The images in a folder."""

    description = (
        "any folder of images with one sub-folder per class, or with such folders train/ and test/, or an archive of one: give its path"
    )
    requires_path = True

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        self.name, self.content = open_content(path, IMAGES, self.cache)

    def key(self) -> str:
        """See `Source`."""
        return digest(self.content.classes, self.shape, [(split, name, content) for split, name, content, _ in self._fingerprints])

    def read(self) -> RawImages:
        """See `Source`."""
        unreadable: list[str] = []
        splits: dict[str, RawSplit[Chunk]] = {}
        for split, samples in self.content.samples.items():
            names: list[str] = []
            splits[split] = RawSplit(self._decode(samples, names, unreadable), len(samples), names=names)
        return RawImages(classes=self.content.classes, splits=splits, unreadable=unreadable, shape=self.shape)

    def original_sizes(self) -> list[tuple[int, int]]:
        """See `Source`."""
        sizes = (header.split()[1].split("x") for *_, header in self._fingerprints if header)
        return [(int(width), int(height)) for width, height in sizes]

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the prepared images; by default grey only if every image is, according to the files' headers."""
        grey = all(header.split()[0] in GREY_MODES for *_, header in self._fingerprints if header)
        size = self.options.image_size or DEFAULT_SIZE
        return self.options.channels or (1 if grey else 3), size, size

    @cached_property
    def _fingerprints(self) -> list[tuple[str, str, str, str]]:
        """Split, name, content hash and header (`image_header`) of every file."""
        with decoding():
            return self.content.fingerprints(self.cache, purpose="images", examine=image_header, progress=self.options.progress)

    def _decode(self, samples: list[Sample], names: list[str], unreadable: list[str]) -> Iterator[Chunk]:
        """Yield the images in chunks (n, C, H, W), with their labels (n,); append their names to `names`, of others to `unreadable`."""

        def load(sample: Sample) -> NDArray[np.uint8] | None:
            try:
                return decode(self.content.root / sample.name, self.shape)
            except DecodeError:
                return None

        step = max(CHUNK // int(np.prod(self.shape)), 1)
        with decoding():
            loaded = zip(samples, thread_map(load, samples), strict=True)
            while chunk := list(islice(loaded, step)):
                unreadable += [printable(sample.name) for sample, image in chunk if image is None]
                decoded = [(image, sample.label) for sample, image in chunk if image is not None]
                names += [sample.name for sample, image in chunk if image is not None]
                if decoded:
                    yield np.stack([image for image, _ in decoded]), np.array([label for _, label in decoded], dtype=np.int64)
