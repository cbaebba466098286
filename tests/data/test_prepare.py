"""Preparing images into the cache: once, completely or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from studygroup import lock
from studygroup.data import Dataset
from studygroup.data.cache import entries
from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.images.prepare import ImagePreparation, StoredImages, pixel_moments
from studygroup.data.prepare import Prepared
from studygroup.data.source import Chunk, ImageSource, RawImages, RawSplit
from studygroup.errors import UserError
from studygroup.options import DataOptions

Open = Callable[..., Dataset]


class Numbers(ImageSource):
    """A source of `rows` images (2, 4, 4), image i all i, in chunks of 8; `after_chunk` is called after each."""

    name = "numbers"

    def __init__(self, rows: int = 20, after_chunk: Callable[[], None] = lambda: None) -> None:
        super().__init__(None, DataOptions("numbers"))
        self.rows, self.after_chunk, self.read_count = rows, after_chunk, 0

    def key(self) -> str:
        return f"numbers {self.rows}"

    def read(self) -> RawImages:
        self.read_count += 1
        return RawImages(classes=("a", "b"), splits={"train": RawSplit(self.chunks(), self.rows)}, shape=(2, 4, 4))

    def chunks(self) -> Iterator[Chunk]:
        for start in range(0, self.rows, 8):
            numbers = np.arange(start, min(start + 8, self.rows), dtype=np.int64)
            yield np.broadcast_to(numbers.reshape(-1, 1, 1, 1), (len(numbers), 2, 4, 4)).astype(np.uint8), numbers % 2
            self.after_chunk()


def prepared(source: Numbers, cache: Path) -> Prepared[StoredImages]:
    return ImagePreparation(source, DataOptions("numbers", cache=cache, progress=False)).prepare()


def entries_in(cache: Path) -> list[str]:
    """Names of the entries in the cache, without lock files."""
    folder = cache / "prepared"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


def is_complete(result: Prepared[StoredImages], rows: int = 20) -> bool:
    split = result.splits["train"].split
    return bool(split.inputs[:, 1, 3, 3].tolist() == list(range(rows)) and split.labels.tolist() == [i % 2 for i in range(rows)])


def test_arrays_are_memory_mapped_and_read_only(cache: Path) -> None:
    split = prepared(Numbers(), cache).splits["train"].split
    assert isinstance(split.inputs.base, np.memmap)
    assert not split.inputs.flags.writeable
    assert split.inputs.shape == (20, 2, 4, 4)


def test_a_source_is_read_once(cache: Path) -> None:
    source = Numbers()
    assert is_complete(prepared(source, cache))
    assert is_complete(prepared(source, cache))
    assert source.read_count == 1
    assert is_complete(prepared(Numbers(21), cache), 21)
    assert len(entries_in(cache)) == 2


def test_moments_are_exact(cache: Path) -> None:
    moments = prepared(Numbers(), cache).splits["train"].moments
    assert moments[:, 0].tolist() == [[16 * i] * 2 for i in range(20)]
    assert moments[:, 1].tolist() == [[16 * i * i] * 2 for i in range(20)]
    bright = np.full((1, 1, 64, 64), 255, dtype=np.uint8)
    assert pixel_moments(bright).tolist() == [[[255 * 4096], [65025 * 4096]]]


def test_an_array_file_is_written_in_chunks(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "array.npy", (3,), np.dtype(np.int64)) as file:
        file.append(np.arange(6).reshape(2, 3))
        file.append(np.arange(3).reshape(1, 3))
        with pytest.raises(ValueError, match="not"):
            file.append(np.zeros((1, 3), dtype=np.float32))
    assert np.load(tmp_path / "array.npy").tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]


def raising(error: BaseException) -> Callable[[], None]:
    def after_chunk() -> None:
        raise error

    return after_chunk


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("crash"), UserError("unreadable")])
def test_an_interruption_leaves_nothing(cache: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        prepared(Numbers(after_chunk=raising(error)), cache)
    assert entries_in(cache) == []
    assert is_complete(prepared(Numbers(), cache))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_leaves_no_entry(cache: Path) -> None:
    child = os.fork()
    if child == 0:
        prepared(Numbers(after_chunk=lambda: os.kill(os.getpid(), signal.SIGKILL)), cache)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(entries_in(cache)) == 1
    assert ".tmp-" in entries_in(cache)[0]
    source = Numbers(21)
    assert is_complete(prepared(source, cache), 21)
    assert len(entries_in(cache)) == 1, "the next preparation cleans up"
    assert is_complete(prepared(Numbers(), cache))


def test_what_another_process_prepares_is_not_deleted(cache: Path) -> None:
    def after_chunk() -> None:
        prepared(Numbers(21), cache)

    assert is_complete(prepared(Numbers(after_chunk=after_chunk), cache))
    assert len(entries_in(cache)) == 2


def prepare_in_threads(sources: list[Numbers], cache: Path) -> list[Prepared[StoredImages]]:
    barrier, results = threading.Barrier(len(sources)), []

    def work(source: Numbers) -> None:
        barrier.wait()
        results.append(prepared(source, cache))

    threads = [threading.Thread(target=work, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_concurrent_preparation_reads_once(cache: Path) -> None:
    sources = [Numbers() for _ in range(4)]
    results = prepare_in_threads(sources, cache)
    assert [is_complete(result) for result in results] == [True] * 4
    assert sum(source.read_count for source in sources) == 1
    assert len(entries_in(cache)) == 1


def test_concurrent_preparation_without_file_locks(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(entries, "_clean", lambda folder: None)
    barrier = threading.Barrier(3)
    sources = [Numbers(8, after_chunk=lambda: (barrier.wait(), None)[1]) for _ in range(3)]
    assert [is_complete(result, 8) for result in prepare_in_threads(sources, cache)] == [True] * 3
    assert sum(source.read_count for source in sources) == 3
    assert len(entries_in(cache)) == 1


@pytest.mark.parametrize("file", ["meta.json", "train_inputs.npy", "train_labels.npy", "train_moments.npy"])
@pytest.mark.parametrize("how", ["delete", "truncate", "empty"])
def test_a_damaged_entry_is_prepared_again(cache: Path, file: str, how: str) -> None:
    prepared(Numbers(), cache)
    path = cache / "prepared" / entries_in(cache)[0] / file
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -20 if how == "truncate" else 0])
    source = Numbers()
    assert is_complete(prepared(source, cache))
    assert source.read_count == 1


def test_free_space_is_checked_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000))
    source = Numbers(2000)
    with pytest.raises(UserError, match=r"to prepare numbers needs 205 KiB, but .* has 49 KiB free; free some space, give another cache"):
        prepared(source, cache)
    assert entries_in(cache) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500_000))
    prepared(source, cache)


@pytest.mark.parametrize(
    ("number", "named"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EROFS, "cannot be written: Read-only")]
)
def test_a_full_or_read_only_disk(cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, named: str) -> None:
    def append(self: ArrayFile, chunk: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ArrayFile, "append", append)
    with pytest.raises(UserError, match=f"{named}.*STUDYGROUP_CACHE"):
        prepared(Numbers(), cache)
    assert entries_in(cache) == []


def test_a_cache_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/cache cannot be written.*give another cache"):
        prepared(Numbers(), tmp_path / "file" / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_cache(cache: Path) -> None:
    prepared(Numbers(), cache)
    (cache / "prepared").chmod(0o555)
    try:
        assert is_complete(prepared(Numbers(), cache))
        with pytest.raises(UserError, match="cannot be written"):
            prepared(Numbers(21), cache)
    finally:
        (cache / "prepared").chmod(0o755)


def test_prepared_data_opens_without_writing(
    opened: Open, cache: Path, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder({"a": 3, "b": 3})
    first = opened(root)
    shutil.rmtree(cache / "index", ignore_errors=True)
    (cache / "index").touch()  # hashes cannot be remembered, either
    monkeypatch.setattr(entries, "file_lock", None)
    assert opened(root).key == first.key


def test_memory_stays_bounded(cache: Path) -> None:
    import tracemalloc

    class Large(Numbers):
        def read(self) -> RawImages:
            chunk = np.zeros((16, 3, 128, 128), dtype=np.uint8)
            chunks = ((chunk, np.zeros(16, dtype=np.int64)) for _ in range(64))
            return RawImages(classes=("a", "b"), splits={"train": RawSplit(chunks, 1024)}, shape=(3, 128, 128))

    tracemalloc.start()
    try:
        prepared(Large(), cache)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6 < 1024 * 3 * 128 * 128


def test_progress_bars_are_shown_on_standard_error(
    opened: Open, capsys: pytest.CaptureFixture[str], folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "120")
    root = folder({"a": 3, "b": 3})
    opened(root, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Reading photos" in shown.err
    assert "Preparing photos" in shown.err
    opened(root, image_size=8, progress=False)
    assert capsys.readouterr() == ("", "")
