"""CIFAR archives: read as published, and refused where they are not."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studygroup.data import Dataset
from studygroup.data.images import cifar
from studygroup.data.images.cifar import Cifar10
from studygroup.errors import UserError

Open = Callable[..., Dataset]
Make = Callable[..., Path]
NAMES = ["cifar10", "cifar100"]


def cifar_tables(name: str, per_file: int = 20) -> dict[str, dict[bytes, Any]]:
    """The content of an archive's files as published: keys and names are byte strings."""
    random = np.random.default_rng(1)
    classes = 10 if name == "cifar10" else 100
    files = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    tables: dict[str, dict[bytes, Any]] = {}
    for file in files if name == "cifar10" else ["train", "test"]:
        labels = [int(label) for label in random.integers(0, classes, per_file)]
        table: dict[bytes, Any] = {
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
    return {f"{CIFAR_FOLDERS[name]}/{file}": pickle.dumps(table, protocol=2) for file, table in reversed(list(tables.items()))}


@pytest.fixture
def cifar_archive(tmp_path: Path) -> Callable[..., Path]:
    """Make a small archive in the published format."""

    def make(name: str, tables: Mapping[str, object] | None = None, extra: Mapping[str, bytes] | None = None) -> Path:
        return pack(tmp_path / CIFAR_ARCHIVES[name], cifar_members(name, tables) | dict(extra or {}))

    return make


def check(data: Dataset, name: str) -> None:
    """Check the data against the generated tables."""
    tables = cifar_tables(name)
    files = (
        {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
        if name == "cifar10"
        else {"train": ["train"], "test": ["test"]}
    )
    assert data.name == name
    assert data.images.shape == (3, 32, 32)
    assert data.flips is True
    assert data.classes == tuple(f"class {i}" for i in range(len(data.classes)))
    assert len(data.classes) == (10 if name == "cifar10" else 100)
    for split, split_name in ((data.train, "train"), (data.test, "test")):
        expected = np.concatenate([tables[file][b"data"] for file in files[split_name]])
        key = b"labels" if name == "cifar10" else b"fine_labels"
        labels = np.concatenate([tables[file][key] for file in files[split_name]])
        assert np.array_equal(split.inputs.reshape(len(split), -1), expected)
        assert split.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_archive(opened: Open, cifar_archive: Make, name: str) -> None:
    path = cifar_archive(name)
    check(opened(f"{name}:{path}"), name)
    check(opened(f"{name}:{path.parent}"), name)


@pytest.mark.parametrize("name", NAMES)
def test_unpacked_folder(opened: Open, tmp_path: Path, name: str) -> None:
    for member, content in cifar_members(name).items():
        (tmp_path / "in" / member).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / member).write_bytes(content)
    check(opened(f"{name}:{tmp_path / 'in'}"), name)
    check(opened(f"{name}:{tmp_path / 'in' / CIFAR_FOLDERS[name]}"), name)


def python2_pickle(table: dict[bytes, Any]) -> bytes:
    """Pickle as Python 2 does: byte strings are its `str`, arrays need `numpy.core.multiarray`."""
    text = pickle.dumps({}, protocol=2)[:2] + b"}("

    def string(value: bytes) -> bytes:
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + len(value).to_bytes(4, "little")) + value

    def item(value: object) -> bytes:
        if isinstance(value, bytes):
            return string(value)
        if isinstance(value, int):
            return b"M" + value.to_bytes(2, "little")
        if isinstance(value, list):
            return b"](" + b"".join(map(item, value)) + b"e"
        assert isinstance(value, np.ndarray)
        dtype = b"cnumpy\ndtype\n(" + string(b"u1") + b"K\x00K\x01tR(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = item(value.shape[0]) + item(value.shape[1]) + b"\x86"
        start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + string(b"b") + b"tR"
        return start + b"(K\x01" + shape + dtype + b"\x89" + string(value.tobytes()) + b"tb"

    return text + b"".join(string(key) + item(value) for key, value in table.items()) + b"u."


@pytest.mark.parametrize("name", NAMES)
def test_pickles_of_python_2(opened: Open, tmp_path: Path, name: str) -> None:
    members = {f"{CIFAR_FOLDERS[name]}/{file}": python2_pickle(table) for file, table in cifar_tables(name).items()}
    members[f"{CIFAR_FOLDERS[name]}/readme.html"] = b"<html>"
    check(opened(f"{name}:{pack(tmp_path / CIFAR_ARCHIVES[name], members)}"), name)


def test_a_wrong_checksum_of_the_users_file_is_logged(opened: Open, cifar_archive: Make, caplog: pytest.LogCaptureFixture) -> None:
    opened(f"cifar10:{cifar_archive('cifar10')}")
    assert "c58f30108f718f92721af3b95e74349a" in caplog.text


def test_a_download_must_have_its_checksum(
    opened: Open, cifar_archive: Make, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = cifar_archive("cifar10")
    published = replace(Cifar10.remote, size=path.stat().st_size, md5=hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(Cifar10, "remote", published)
    download = cache / "downloads" / "cifar10" / path.name
    download.parent.mkdir(parents=True)
    download.write_bytes(path.read_bytes())
    check(opened("cifar10"), "cifar10")
    assert not caplog.records
    pack(download, cifar_members("cifar10", cifar_tables("cifar10", per_file=3)))
    with pytest.raises(UserError, match=r"has changed since it was fetched.*--download"):
        opened("cifar10")


class Evil:
    """Runs a command where it is unpickled without care."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("where", ["data_batch_3", "batches.meta", "test_batch"])
def test_a_pickle_that_runs_code_is_refused(opened: Open, cifar_archive: Make, tmp_path: Path, where: str) -> None:
    witness = tmp_path / "witness"
    for evil in (Evil(os.mkdir, str(witness)), Evil(eval, f"__import__('os').mkdir({str(witness)!r})"), Evil(np.load, "x", None, True)):
        tables: dict[str, dict[bytes, Any]] = cifar_tables("cifar10")
        tables[where][b"extra"] = evil
        with pytest.raises(UserError, match=f"{where}.*is refused.*run code"):
            opened(f"cifar10:{cifar_archive('cifar10', tables)}")
        assert not witness.exists()


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cbuiltins\ngetattr\n(cbuiltins\ndict\nS'clear'\ntR.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
        b"c_codecs\ndecode\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cbuiltins\ndict\nK\x00\x85S'b'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85S'b'\ntR.",
        b"cnumpy\ncore.multiarray.scalar\n.",
    ],
)
def test_only_arrays_and_plain_values_are_allowed(code: bytes) -> None:
    with pytest.raises(UserError, match="is refused"):
        cifar.load(io.BytesIO(code), "file")


@pytest.mark.parametrize("code", [b"", b"\x80", b"}", b"N.", b"(lp0\n.", b"\x80\x02]q\x00(K", b"garbage", b"\x80\x02T\xff\xff\xff\x7fab."])
def test_damaged_pickles(code: bytes) -> None:
    with pytest.raises(UserError, match=r"damaged|no dictionary"):
        cifar.load(io.BytesIO(code), "file")


@pytest.mark.parametrize("name", ["../evil", "/evil", "cifar-10-batches-py/../../evil", "a\\..\\evil"])
def test_names_that_point_out_of_the_archive_are_refused(opened: Open, cifar_archive: Make, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"is refused.*points out"):
        opened(f"cifar10:{cifar_archive('cifar10', extra={name: b'x'})}")
    assert not (tmp_path / "evil").exists()
    assert not Path("/evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(opened: Open, tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / CIFAR_ARCHIVES["cifar10"]
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(UserError, match="is refused"):
        opened(f"cifar10:{path}")


def test_absurd_sizes_are_refused(opened: Open, tmp_path: Path, cifar_archive: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cifar_archive("cifar10", extra={"cifar-10-batches-py/large": bytes(200_000)})
    monkeypatch.setattr(cifar, "MAX_MEMBER", 190_000)
    with pytest.raises(UserError, match=r"large.*far larger"):
        opened(f"cifar10:{path}")
    monkeypatch.undo()
    monkeypatch.setattr(cifar, "MAX_TOTAL", 300_000)
    with pytest.raises(UserError, match="far larger"):
        opened(f"cifar10:{path}")
    monkeypatch.undo()
    with path.open("ab") as file:
        file.write(gzip.compress(bytes(2_000_000)))
    with pytest.raises(UserError, match="too much data follows"):
        opened(f"cifar10:{path}")


def test_corrupted_archives(opened: Open, cifar_archive: Make) -> None:
    path = cifar_archive("cifar10")
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
    for damaged in (content[:middle], content[:-8], content[:-8] + bytes(8), flipped, b"", b"no archive", gzip.compress(b"no tar")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz"):
            opened(f"cifar10:{path}")


@pytest.mark.parametrize(
    ("file", "key", "value", "named"),
    [
        ("data_batch_2", b"data", np.zeros((20, 3071), dtype=np.uint8), "3072 bytes"),
        ("data_batch_2", b"data", np.zeros((20, 3072), dtype=np.int64), "the dtype 'i8'"),
        ("data_batch_2", b"data", [1, 2], "3072 bytes"),
        ("data_batch_2", b"labels", [0] * 19, "20 images, but not as many"),
        ("data_batch_2", b"labels", [10] * 20, "not from 0 to 9"),
        ("data_batch_2", b"labels", [-1] * 20, "not from 0 to 9"),
        ("data_batch_2", b"labels", [b"0"] * 20, "not from 0 to 9"),
        ("batches.meta", b"label_names", [b"cat"], "10 classes"),
    ],
)
def test_wrong_content_is_named(opened: Open, cifar_archive: Make, file: str, key: bytes, value: object, named: str) -> None:
    tables = cifar_tables("cifar10")
    tables[file][key] = value
    with pytest.raises(UserError, match=f"{file}.*{named}"):
        opened(f"cifar10:{cifar_archive('cifar10', tables)}")


def test_missing_files_are_named(opened: Open, cifar_archive: Make, tmp_path: Path) -> None:
    tables = cifar_tables("cifar10")
    del tables["data_batch_4"]
    with pytest.raises(UserError, match="data_batch_4"):
        opened(f"cifar10:{cifar_archive('cifar10', tables)}")
    with pytest.raises(UserError, match="cifar-100-python/train"):
        opened(f"cifar100:{tmp_path / CIFAR_ARCHIVES['cifar10']}")
    (tmp_path / "unpacked" / "cifar-10-batches-py").mkdir(parents=True)
    with pytest.raises(UserError, match="has no data_batch_1"):
        opened(f"cifar10:{tmp_path / 'unpacked'}")


def test_missing_data_is_named(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--download, or give cifar-10-python\.tar\.gz as cifar10:PATH"):
        opened("cifar10")
    with pytest.raises(UserError, match="gone does not exist"):
        opened(f"cifar10:{tmp_path / 'gone'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds neither cifar-10-python\.tar\.gz"):
        opened(f"cifar10:{tmp_path / 'empty'}")
