"""Remembered hashes of files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from studygroup.data.cache import fingerprint
from studygroup.data.cache.fingerprint import fingerprints


class Reader:
    """Records which files are examined; the remark is the suffix."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, path: Path) -> str:
        self.read.append(path.name)
        return path.suffix


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    for name in ("a.x", "b.y", "c.z"):
        (tmp_path / "files" / name).write_text(name)
    return tmp_path / "files"


NAMES = ["a.x", "b.y", "c.z"]


def look(root: Path, cache: Path, names: list[str] = NAMES) -> tuple[list[tuple[str, str]], list[str]]:
    reader = Reader()
    found = fingerprints(root, names, cache, purpose="test", examine=reader, progress=False)
    return found, sorted(reader.read)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember files however young they are."""
    monkeypatch.setattr(fingerprint, "SETTLED", -(10**18))


@pytest.mark.usefixtures("settled")
def test_only_changed_files_are_read(root: Path, cache: Path) -> None:
    first, read = look(root, cache)
    assert read == NAMES
    assert [remark for _, remark in first] == [".x", ".y", ".z"]
    assert len({digest for digest, _ in first}) == 3
    assert look(root, cache) == (first, [])
    (root / "b.y").write_text("other")
    second, read = look(root, cache)
    assert read == ["b.y"]
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, False, True]


@pytest.mark.usefixtures("settled")
def test_a_touched_file_is_read_and_has_the_same_hash(root: Path, cache: Path) -> None:
    first, _ = look(root, cache)
    os.utime(root / "c.z", (1, 1))
    assert look(root, cache) == (first, ["c.z"])


@pytest.mark.usefixtures("settled")
def test_a_change_that_keeps_size_and_time_is_seen(root: Path, cache: Path) -> None:
    first, _ = look(root, cache)
    times = (root / "b.y").stat()
    time.sleep(0.02)  # the system's clock for files ticks every few milliseconds
    (root / "b.y").write_text("B.Y")
    os.utime(root / "b.y", ns=(times.st_atime_ns, times.st_mtime_ns))
    second, read = look(root, cache)
    assert read == ["b.y"]
    assert second[1] != first[1]


@pytest.mark.usefixtures("settled")
def test_the_hash_is_that_of_the_content(root: Path, cache: Path) -> None:
    (root / "b.y").write_text("a.x")
    (a, _), (b, _), _ = look(root, cache)[0]
    assert a == b


@pytest.mark.usefixtures("settled")
def test_deleted_files_are_forgotten(root: Path, cache: Path) -> None:
    look(root, cache)
    assert look(root, cache, ["a.x"])[1] == []
    assert look(root, cache)[1] == ["b.y", "c.z"]


def test_a_recently_changed_file_is_not_remembered(root: Path, cache: Path) -> None:
    look(root, cache)
    assert look(root, cache)[1] == NAMES


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a.x": 3}', '{"a.x": [1, 2, "x", "y", "z"]}'])
def test_a_damaged_index_is_ignored(root: Path, cache: Path, content: str) -> None:
    first, _ = look(root, cache)
    (index,) = (cache / "index").iterdir()
    index.write_text(content)
    assert look(root, cache) == (first, NAMES)
    assert look(root, cache) == (first, [])


def test_an_index_that_cannot_be_written_is_ignored(root: Path, cache: Path) -> None:
    cache.write_text("not a folder")
    assert look(root, cache)[1] == NAMES
