"""MNIST and Fashion-MNIST in the idx format."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from studygroup.data import Dataset
from studygroup.data.images import idx
from studygroup.errors import UserError

Open = Callable[..., Dataset]
Make = Callable[..., tuple[Path, dict[str, np.ndarray]]]
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("zipped", [True, False])
def test_samples_equal_the_files(opened: Open, idx_folder: Make, name: str, zipped: bool) -> None:
    root, arrays = idx_folder(zipped=zipped)
    data = opened(f"{name}:{root}")
    assert data.name == name
    assert data.images.shape == (1, 28, 28)
    assert len(data.classes) == 10
    assert data.flips == (name != "mnist")
    for split, stem in ((data.train, "train"), (data.test, "t10k")):
        inputs, labels = split.gather(np.arange(len(split)))
        assert np.array_equal(inputs[:, 0].numpy(), arrays[f"{stem}-images-idx3-ubyte"])
        assert np.array_equal(labels.numpy(), arrays[f"{stem}-labels-idx1-ubyte"])
    scaled = arrays["train-images-idx3-ubyte"] / 255
    assert data.images.mean == pytest.approx((scaled.mean(),))
    assert data.images.std == pytest.approx((scaled.std(),))


def test_reading_in_chunks(opened: Open, idx_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "CHUNK", 28 * 28 * 7)
    root, arrays = idx_folder()
    data = opened(f"mnist:{root}")
    assert np.array_equal(data.train.inputs[:, 0], arrays["train-images-idx3-ubyte"])


def test_dots_in_the_names(opened: Open, idx_folder: Make) -> None:
    root, _ = idx_folder(zipped=False)
    for path in root.iterdir():
        path.rename(root / path.name.replace("-idx", ".idx"))
    assert len(opened(f"mnist:{root}").train) == 30


def test_size_and_channels_are_converted(opened: Open, idx_folder: Make) -> None:
    root, arrays = idx_folder()
    assert opened(f"mnist:{root}", image_size=14).train.inputs.shape == (30, 1, 14, 14)
    colour = opened(f"mnist:{root}", channels=3)
    assert np.array_equal(colour.train.inputs, np.repeat(arrays["train-images-idx3-ubyte"][:, None], 3, axis=1))


def test_changed_files_are_prepared_again(opened: Open, idx_folder: Make) -> None:
    root, arrays = idx_folder()
    first = opened(f"mnist:{root}")
    content = (root / LABELS).read_bytes()
    labels = (arrays["train-labels-idx1-ubyte"] + 1) % 10
    (root / LABELS).write_bytes(gzip.compress(struct.pack(">2I", 0x801, 30) + labels.tobytes(), mtime=0))
    second = opened(f"mnist:{root}")
    assert second.key != first.key
    assert second.train.labels.tolist() == labels.tolist()
    (root / LABELS).write_bytes(content)
    assert opened(f"mnist:{root}").key == first.key


def header(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        (IMAGES, gzip.compress(header(0x801, 30, 28, 28) + bytes(30 * 784)), "0x801, not 0x803"),
        (IMAGES, gzip.compress(header(0x803, 30, 28, 28) + bytes(30 * 784 - 1)), "ends too early"),
        (IMAGES, gzip.compress(header(0x803, 30, 28, 28) + bytes(30 * 784 + 1)), "goes on after the size"),
        (IMAGES, gzip.compress(header(0x803, 30)), "ends too early"),
        (IMAGES, gzip.compress(header(0x803, 0, 28, 28)), "empty"),
        (IMAGES, gzip.compress(header(0x803, 29, 28, 28) + bytes(29 * 784)), "29 images.*30 labels"),
        (IMAGES, gzip.compress(header(0x803, 30, 14, 14) + bytes(30 * 196)), r"\(14, 14\) for training and \(28, 28\)"),
        (IMAGES, b"not gzip", "damaged"),
        (LABELS, gzip.compress(header(0x801, 30) + bytes([10] * 30)), "label 10"),
        (LABELS, gzip.compress(header(0x801, 30) + bytes(29)), "ends too early"),
        (LABELS, b"", "ends too early"),
    ],
)
def test_damaged_files_are_named(opened: Open, idx_folder: Make, file: str, content: bytes, named: str) -> None:
    root, _ = idx_folder()
    (root / file).write_bytes(content)
    with pytest.raises(UserError, match=named) as error:
        opened(f"mnist:{root}")
    assert str(root) in str(error.value)


@pytest.mark.parametrize("file", [IMAGES, LABELS])
def test_truncated_and_damaged_gzip(opened: Open, idx_folder: Make, file: str) -> None:
    root, _ = idx_folder()
    content = (root / file).read_bytes()
    for damaged in (content[: len(content) // 2], content[:-8], content[:-8] + bytes(8)):
        (root / file).write_bytes(damaged)
        with pytest.raises(UserError, match=f"{file} (is damaged|ends too early)"):
            opened(f"mnist:{root}")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read anything")
def test_a_file_without_permission_is_named(opened: Open, idx_folder: Make) -> None:
    root, _ = idx_folder()
    (root / LABELS).chmod(0)
    with pytest.raises(UserError, match=f"{LABELS} cannot be read: Permission denied"):
        opened(f"mnist:{root}")


def test_a_missing_file_is_named(opened: Open, idx_folder: Make, tmp_path: Path) -> None:
    root, _ = idx_folder()
    (root / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"has no t10k-labels-idx1-ubyte"):
        opened(f"mnist:{root}")
    with pytest.raises(UserError, match="gone is not a folder"):
        opened(f"mnist:{tmp_path / 'gone'}")


def test_search_order(opened: Open, idx_folder: Make, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "DEBIAN", tmp_path / "share")
    with pytest.raises(UserError, match=r"--download, install Debian's package dataset-fashion-mnist, or .*fashion-mnist:FOLDER"):
        opened("fashion-mnist")
    with pytest.raises(UserError, match="--download, or give its folder as mnist:FOLDER"):
        opened("mnist")
    fetched, _ = idx_folder("fetched", train=12)
    shutil.move(fetched, cache / "downloads" / "fashion-mnist")
    assert len(opened("fashion-mnist").train) == 12
    packaged, _ = idx_folder("packaged", train=13)
    shutil.move(packaged, tmp_path / "share" / "fashion-mnist")
    assert len(opened("fashion-mnist").train) == 13


@pytest.mark.skipif(not (idx.DEBIAN / "fashion-mnist").is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist(opened: Open) -> None:
    data = opened("fashion-mnist")
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.images.mean == pytest.approx((0.2860,), abs=5e-5)
    assert data.images.std == pytest.approx((0.3530,), abs=5e-5)
    assert np.bincount(data.train.labels).tolist() == [6000] * 10
    assert data.classes[data.train.labels[0]] == "Ankle boot"
