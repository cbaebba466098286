"""Downloads from a server on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from studygroup.data import Dataset
from studygroup.data.cache import download
from studygroup.data.cache.download import RemoteFile, fetch
from studygroup.data.images import idx
from studygroup.data.images.cifar import Cifar10, Cifar100
from studygroup.data.images.idx import FashionMnist, Mnist
from studygroup.errors import UserError

CONTENT = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8).tobytes()


class Publisher(ThreadingHTTPServer):
    """Serves `files`; tests set its faults; `ranges` records the requested ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/data.bin": CONTENT}
        self.ranges: list[str | None] = []
        self.knows_ranges = True
        self.states_length = True
        self.drop_after: list[int] = []  # per connection: close it after so many bytes
        self.stall = False
        self.stalled = threading.Event()
        self.status: list[int] = []  # per connection: answer with this instead

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Publisher

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server, requested = self.server, self.headers.get("Range")
        server.ranges.append(requested)
        if server.status and (status := server.status.pop(0)) != 200:
            self.send_error(status)
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        content, start = server.files[self.path], 0
        if requested and server.knows_ranges:
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.states_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if server.stall:
            server.stalled.wait(5)
        self.wfile.write(content[start:][: server.drop_after.pop(0) if server.drop_after else None])


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stalled.set()
        server.shutdown()
        thread.join()


def described(server: Publisher, content: bytes = CONTENT, path: str = "/data.bin") -> RemoteFile:
    return RemoteFile(server.url + path, len(content), hashlib.md5(content).hexdigest())


def fetched(server: Publisher, cache: Path) -> Path:
    return fetch(described(server), cache / "downloads", cache, progress=False)


def names(cache: Path) -> set[str]:
    return {path.name for path in (cache / "downloads").iterdir()} - {"data.bin.lock"}


def test_a_file_is_fetched_once(publisher: Publisher, cache: Path) -> None:
    path = fetched(publisher, cache)
    assert path == cache / "downloads" / "data.bin"
    assert path.read_bytes() == CONTENT
    assert fetched(publisher, cache) == path
    assert publisher.ranges == [None]
    assert names(cache) == {"data.bin"}


def test_a_partial_download_is_resumed(publisher: Publisher, cache: Path) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "data.bin.part").write_bytes(CONTENT[:30_000])
    assert fetched(publisher, cache).read_bytes() == CONTENT
    assert publisher.ranges == ["bytes=30000-"]


def test_a_complete_part_needs_no_connection(publisher: Publisher, cache: Path) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "data.bin.part").write_bytes(CONTENT)
    assert fetched(publisher, cache).read_bytes() == CONTENT
    assert publisher.ranges == []


@pytest.mark.parametrize("states_length", [True, False])
def test_a_server_without_ranges_sends_the_whole_file(publisher: Publisher, cache: Path, states_length: bool) -> None:
    publisher.knows_ranges, publisher.states_length = False, states_length
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "data.bin.part").write_bytes(CONTENT[:30_000])
    assert fetched(publisher, cache).read_bytes() == CONTENT


def test_dropped_connections_are_resumed(publisher: Publisher, cache: Path) -> None:
    publisher.drop_after = [20_000, 5_000, 1, 1, 1, 1, 1, 1]
    assert fetched(publisher, cache).read_bytes() == CONTENT
    assert publisher.ranges[:3] == [None, "bytes=20000-", "bytes=25000-"]
    assert len(publisher.ranges) == 9


def test_a_failed_download_keeps_its_part(publisher: Publisher, cache: Path) -> None:
    publisher.drop_after = [20_000] + [0] * download.ATTEMPTS
    with pytest.raises(UserError, match=r"data\.bin cannot be fetched.*20000 of 100000.*run the same command again to continue"):
        fetched(publisher, cache)
    assert names(cache) == {"data.bin.part"}
    assert fetched(publisher, cache).read_bytes() == CONTENT
    assert publisher.ranges[-1] == "bytes=20000-"


def test_repeated_drops_without_progress_are_an_error(publisher: Publisher, cache: Path) -> None:
    publisher.knows_ranges = False
    publisher.drop_after = [20_000] * 50
    with pytest.raises(UserError, match="cannot be fetched"):
        fetched(publisher, cache)
    assert len(publisher.ranges) == 1 + download.ATTEMPTS


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1] + b"?", CONTENT + b"more", CONTENT[:500], b"<html>please log in</html>", b""],
    ids=["same size", "longer", "shorter", "page", "empty"],
)
@pytest.mark.parametrize("states_length", [True, False])
def test_wrong_content_is_refused_and_deleted(publisher: Publisher, cache: Path, content: bytes, states_length: bool) -> None:
    publisher.files["/data.bin"], publisher.states_length = content, states_length
    with pytest.raises(UserError, match="is not the published file"):
        fetched(publisher, cache)
    assert names(cache) == set()


def test_a_part_of_another_file_is_detected(publisher: Publisher, cache: Path) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "data.bin.part").write_bytes(b"x" * 10_000)
    with pytest.raises(UserError, match="is not the published file"):
        fetched(publisher, cache)
    assert fetched(publisher, cache).read_bytes() == CONTENT


def test_a_busy_server_is_retried(publisher: Publisher, cache: Path) -> None:
    publisher.status = [503, 429, 500]
    assert fetched(publisher, cache).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, download.ATTEMPTS)])
def test_error_statuses_are_reported(publisher: Publisher, cache: Path, status: int, requests: int) -> None:
    publisher.status = [status] * 20
    with pytest.raises(UserError, match=f"data.bin cannot be fetched: the server answers {status}"):
        fetched(publisher, cache)
    assert len(publisher.ranges) == requests


def test_an_unsatisfiable_range_starts_again(publisher: Publisher, cache: Path) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "data.bin.part").write_bytes(CONTENT[:30_000])
    publisher.status = [416]
    assert fetched(publisher, cache).read_bytes() == CONTENT
    assert publisher.ranges == ["bytes=30000-", None]


def test_a_silent_server_times_out(publisher: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    publisher.stall = True
    with pytest.raises(UserError, match="timed out"):
        fetched(publisher, cache)


def test_an_unreachable_server_is_named(publisher: Publisher, cache: Path) -> None:
    nobody = RemoteFile("http://127.0.0.1:1/data.bin", 1, "")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1 cannot be reached.*check the network"):
        fetch(nobody, cache / "downloads", cache, progress=False)


def test_free_space_is_checked_first(publisher: Publisher, cache: Path) -> None:
    huge = RemoteFile(publisher.url + "/data.bin", 1 << 60, "")
    with pytest.raises(UserError, match=r"to fetch data\.bin needs .* GiB, but"):
        fetch(huge, cache / "downloads", cache, progress=False)
    assert publisher.ranges == []


def test_concurrent_downloads_fetch_once(publisher: Publisher, cache: Path) -> None:
    threads = [threading.Thread(target=fetched, args=(publisher, cache)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cache / "downloads" / "data.bin").read_bytes() == CONTENT
    assert publisher.ranges == [None]


def test_a_progress_bar_is_shown_on_standard_error(
    publisher: Publisher, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "120")
    fetch(described(publisher), cache / "downloads", cache, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Fetching data.bin" in shown.err


def test_a_data_set_is_downloaded(
    publisher: Publisher,
    opened: Callable[..., Dataset],
    idx_folder: Callable[..., tuple[Path, dict[str, np.ndarray]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, arrays = idx_folder()
    monkeypatch.setattr(idx, "DEBIAN", tmp_path / "share")
    remote = []
    for path in sorted(root.iterdir()):
        publisher.files[f"/{path.name}"] = path.read_bytes()
        remote.append(described(publisher, path.read_bytes(), f"/{path.name}"))
    monkeypatch.setattr(Mnist, "remote", tuple(remote))
    data = opened("mnist", download=True)
    assert np.array_equal(data.train.inputs[:, 0], arrays["train-images-idx3-ubyte"])
    assert len(publisher.ranges) == 4
    assert opened("mnist", download=True).key == opened("mnist").key == data.key
    assert len(publisher.ranges) == 4


def test_published_addresses_and_checksums() -> None:
    assert Cifar10.remote == RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", 170498071, "c58f30108f718f92721af3b95e74349a"
    )
    assert Cifar100.remote == RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", 169001437, "eb9058c3a382ffc7106e4002c42a8d85"
    )
    for source in (Mnist, FashionMnist):
        assert [file.name for file in source.remote] == [f"{stem}.gz" for pair in idx.FILES.values() for stem in pair]
