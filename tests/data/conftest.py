"""Small data sets in the published formats."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studygroup.data import Dataset, open_dataset


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(cache: Path) -> Callable[..., Dataset]:
    """`open_dataset` with a temporary cache, without progress bars."""
    return partial(open_dataset, cache=cache, progress=False)


def picture(seed: int, height: int = 12, width: int = 12, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of images: `folder({"cat": 3, "dog": 4})`; names may have slashes."""

    def make(classes: Mapping[str, int], name: str = "photos", channels: int = 3, suffix: str = ".png") -> Path:
        root = tmp_path / name
        seed = 0
        for label, count in classes.items():
            (root / label).mkdir(parents=True)
            for i in range(count):
                picture(seed := seed + 1, channels=channels).save(root / label / f"{i:03d}{suffix}")
        return root

    return make


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the idx format."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def idx_arrays(train: int = 30, test: int = 20, size: int = 28) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {}
    for stem, n in (("train", train), ("t10k", test)):
        arrays[f"{stem}-images-idx3-ubyte"] = random.integers(0, 256, (n, size, size), dtype=np.uint8)
        arrays[f"{stem}-labels-idx1-ubyte"] = np.arange(n, dtype=np.uint8) % 10
    return arrays


@pytest.fixture
def idx_folder(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, np.ndarray]]]:
    """Make a folder of idx files."""

    def make(name: str = "idx", zipped: bool = True, **sizes: int) -> tuple[Path, dict[str, np.ndarray]]:
        root, arrays = tmp_path / name, idx_arrays(**sizes)
        root.mkdir()
        for stem, array in arrays.items():
            if zipped:
                (root / f"{stem}.gz").write_bytes(gzip.compress(idx(array), mtime=0))
            else:
                (root / stem).write_bytes(idx(array))
        return root, arrays

    return make
