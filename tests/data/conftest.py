"""Small data sets in the published formats."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
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
    """`open_dataset` with a cache of the test's own, and no progress bars."""
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


def cifar_tables(name: str, per_file: int = 20) -> dict[str, dict[bytes, object]]:
    """The content of an archive's files as published: keys and names are byte strings."""
    random = np.random.default_rng(1)
    classes = 10 if name == "cifar10" else 100
    files = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    tables: dict[str, dict[bytes, object]] = {}
    for file in files if name == "cifar10" else ["train", "test"]:
        labels = [int(label) for label in random.integers(0, classes, per_file)]
        table: dict[bytes, object] = {
            b"batch_label": file.encode(),
            b"data": random.integers(0, 256, (per_file, 3072), dtype=np.uint8),
            b"filenames": [b"photo_%d.png" % i for i in range(per_file)],
        }
        table |= {b"labels": labels} if name == "cifar10" else {b"fine_labels": labels, b"coarse_labels": [label // 5 for label in labels]}
        tables[file] = table
    names = [f"class {i}".encode() for i in range(classes)]
    if name == "cifar10":
        tables["batches.meta"] = {b"num_cases_per_batch": per_file, b"label_names": names, b"num_vis": 3072}
    else:
        tables["meta"] = {b"fine_label_names": names, b"coarse_label_names": [b"coarse"] * 20}
    return tables


CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
CIFAR_ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def pack(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar.gz archive of files."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def cifar_members(name: str, tables: Mapping[str, object] | None = None) -> dict[str, bytes]:
    tables = cifar_tables(name) if tables is None else tables
    # Not in the order of their names, as in the published archives.
    return {f"{CIFAR_FOLDERS[name]}/{file}": pickle.dumps(table, protocol=2) for file, table in reversed(tables.items())}


@pytest.fixture
def cifar_archive(tmp_path: Path) -> Callable[..., Path]:
    """Make a small archive in the published format."""

    def make(name: str, tables: Mapping[str, object] | None = None, extra: Mapping[str, bytes] | None = None) -> Path:
        return pack(tmp_path / CIFAR_ARCHIVES[name], cifar_members(name, tables) | dict(extra or {}))

    return make
