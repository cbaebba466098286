"""Folders that are packed in archives, also hostile ones."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from studygroup.data import Dataset, archives
from studygroup.data.archives import SUFFIXES, archive_name, archive_suffix
from studygroup.data.sources import parse
from studygroup.errors import UserError

Open = Callable[..., Dataset]
Make = Callable[..., Path]
TEXT = b"some text"
CLASSES = {f"{label}/{i}.txt": TEXT + label.encode() + bytes([97 + i]) for label in "ab" for i in range(6)}
MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def tar(path: Path, files: dict[str, bytes], more: Sequence[tarfile.TarInfo] = ()) -> Path:
    with tarfile.open(path, MODES[archive_suffix(path) or ".tar"]) as archive:  # type: ignore[call-overload]
        for info in more:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def packed(path: Path, files: dict[str, bytes]) -> Path:
    return zipped(path, files) if path.suffix.lower() == ".zip" else tar(path, files)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def pixels(data: Dataset) -> list[bytes]:
    return [image.numpy().tobytes() for split in (data.train, data.holdout, data.test) for image in split.gather(np.arange(len(split)))[0]]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("inside", ["", "photos/", "./home/x/photos/"])
def test_images_are_read_as_from_the_folder(opened: Open, folder: Make, tmp_path: Path, suffix: str, inside: str) -> None:
    root = folder({"dog": 5, "cat": 4})
    files = {inside + name: content for name, content in contents(root).items()}
    junk = {"__MACOSX/dog/._000.png": b"x", f"{inside}dog/.DS_Store": b"x", f"{inside}dog/._000.png": b"x", f"{inside}notes.txt": b"x"}
    path = packed(tmp_path / f"Photos{suffix.upper()}", {**files, **junk})
    data, expected = opened(path), opened(root)
    assert data.name == "Photos"
    assert data.classes == ("cat", "dog")
    assert pixels(data) == pixels(expected)
    assert data.train.sample_names() == expected.train.sample_names()


def test_splits_in_an_archive(opened: Open, folder: Make, tmp_path: Path) -> None:
    root = folder({f"{split}/{label}": count for split, count in (("train", 6), ("val", 3), ("test", 2)) for label in "ab"})
    path = packed(tmp_path / "p.zip", {f"p/{name}": content for name, content in contents(root).items()})
    data = opened(path)
    assert [len(split) for split in (data.train, data.holdout, data.test)] == [12, 6, 4]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_texts(opened: Open, tmp_path: Path, suffix: str) -> None:
    data = opened(packed(tmp_path / f"t{suffix}", {f"top/{name}": text for name, text in CLASSES.items()}), tokenizer="chars", test_size=0)
    assert data.classes == ("a", "b")
    assert data.train.texts is not None
    assert sorted(data.train.texts.texts()) == sorted(text.decode() for text in CLASSES.values())


def test_an_archive_is_unpacked_once_and_again_if_it_changes(
    opened: Open, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "t.zip", CLASSES)
    first = opened(path, tokenizer="chars").key
    monkeypatch.setattr(archives, "_unpack", lambda *_: pytest.fail("unpacked again"))
    assert opened(path, tokenizer="chars").key == first
    monkeypatch.undo()
    zipped(path, {**CLASSES, "b/new.txt": b"new"})
    assert opened(path, tokenizer="chars").key != first
    assert len(list((cache / "unpacked").glob("t-*/files"))) == 2


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/evil.txt", "a/..", "..\\evil.txt"])
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_paths_that_lead_out_are_refused(opened: Open, tmp_path: Path, cache: Path, name: str, suffix: str) -> None:
    if suffix == ".tar" and "\\" in name:
        pytest.skip("a letter like others")
    (tmp_path / "in").mkdir()
    path = packed(tmp_path / "in" / f"t{suffix}", {**CLASSES, name: b"evil"})
    with pytest.raises(UserError, match=r"is refused: the path '.*\.\..*|is refused: the path '/tmp/evil.txt'"):
        opened(path)
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("/tmp/evil.txt").exists()
    assert not list((cache / "unpacked").glob("t-*/files")), "nothing is left"


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = "/etc/passwd"
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(opened: Open, tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(UserError, match=r"'a/x.txt' in it is a link or a device; pack the files themselves"):
        opened(tar(tmp_path / "t.tar", CLASSES, [special("a/x.txt", kind)]))
    assert len(opened(tar(tmp_path / "u.tar", CLASSES, [special("readme", kind)]), tokenizer="chars", test_size=0).train) == 12


def test_a_folder_that_is_a_link_leads_nowhere(opened: Open, tmp_path: Path) -> None:
    """A link `out` that is no sample is left out, so that `out/x.txt` is inside of the folder."""
    outside = tmp_path / "outside"
    outside.mkdir()
    info = special("out", tarfile.SYMTYPE)
    info.linkname = str(outside)
    data = opened(tar(tmp_path / "t.tar", {**CLASSES, "out/x.txt": b"evil"}, [info]), tokenizer="chars", test_size=0)
    assert data.classes == ("a", "b", "out")
    assert not list(outside.iterdir())


def test_links_in_a_zip_are_refused(opened: Open, tmp_path: Path) -> None:
    path = zipped(tmp_path / "t.zip", CLASSES)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("a/x.txt")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"'a/x.txt' in it is a link or a device"):
        opened(path)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_bombs_are_refused(opened: Open, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(archives, "MARGIN", 1 << 16)
    path = packed(tmp_path / f"t{suffix}", {**CLASSES, "b/zeros.txt": bytes(20_000_000)})
    with pytest.raises(UserError, match=r"is refused: it unpacks to more than .* or 5,000,000 files"):
        opened(path)
    assert not list((cache / "unpacked").glob("t-*/files"))


def test_a_zip_that_says_less_than_it_holds(opened: Open, tmp_path: Path) -> None:
    path = zipped(tmp_path / "t.zip", {**CLASSES, "b/long.txt": b"y" * 5000})
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("b/long.txt").file_size
    data = path.read_bytes()
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"cannot be unpacked \(Bad CRC-32"):
        opened(path)


def test_too_many_files(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 5)
    with pytest.raises(UserError, match="or 5 files"):
        opened(zipped(tmp_path / "t.zip", CLASSES))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_archives(opened: Open, tmp_path: Path, suffix: str) -> None:
    path = packed(tmp_path / f"t{suffix}", CLASSES)
    content = path.read_bytes()
    for damaged in (b"", b"no archive", content[: len(content) // 2 + 100], content[:100]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"cannot be unpacked|has no images and no texts"):
            opened(path)


def test_names_that_no_file_can_have(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is too long for a file; rename it"):
        opened(tar(tmp_path / "t.tar", {**CLASSES, f"a/{'x' * 300}.txt": TEXT}))
    with pytest.raises(UserError, match=r"'a/0.txt/1.txt' as a file and as a folder"):
        opened(tar(tmp_path / "u.tar", {**CLASSES, "a/0.txt/1.txt": TEXT}))
    with pytest.raises(UserError, match=r"as a file and as a folder"):
        opened(tar(tmp_path / "v.tar", {"a/0.txt/1.txt": TEXT, **CLASSES}))


def test_what_is_no_folder_of_classes(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no images and no texts \(.txt\) in folders"):
        opened(zipped(tmp_path / "t.zip", {"train.csv": b"text,label\n", "x.txt": TEXT}))
    with pytest.raises(UserError, match=r"missing.zip does not exist"):
        opened(f"texts:{tmp_path / 'missing.zip'}")
    assert parse(zipped(tmp_path / "u.zip", {"a\\1.txt": TEXT, "b\\1.txt": TEXT}))[0] == "texts"


def test_a_full_disk(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(_: Path) -> object:
        return type("usage", (), {"free": 10})

    monkeypatch.setattr("studygroup.data.cache.disk.shutil.disk_usage", usage)
    with pytest.raises(UserError, match=r"to unpack t.zip needs .* free some space"):
        opened(zipped(tmp_path / "t.zip", CLASSES))


def test_names_of_archives() -> None:
    assert archive_suffix(Path("a/.zip")) is None
    assert archive_suffix(Path("a.tar.GZ")) == ".tar.gz"
    assert archive_name(Path("x/photos.v2.tar.gz")) == "photos.v2"


@pytest.fixture(autouse=True)
def unpacked_files_are_not_linked(tmp_path: Path) -> Iterator[None]:
    """Whatever the archive, no link is made in the cache."""
    yield
    assert not [path for path in (tmp_path / "cache").rglob("*") if os.path.islink(path)]
