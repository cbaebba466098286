"""IMDb's archive: read as published, and refused where it is not."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from studygroup.data.texts import files as text_files
from studygroup.data.texts import imdb
from studygroup.data.texts.imdb import Imdb
from studygroup.errors import UserError
from tests.data.texts.helpers import pack, read, rows, source_args

ARCHIVE = "aclImdb_v1.tar.gz"


def members(count: int = 3) -> dict[str, bytes]:
    """The files of an archive as published: the test before the training set, and more than the labelled reviews."""
    files: dict[str, bytes] = {"aclImdb/imdb.vocab": b"the\nand\n", "aclImdb/README": b"Large Movie Review Dataset\n"}
    for split in ("test", "train"):
        files[f"aclImdb/{split}/urls_neg.txt"] = b"http://www.imdb.com/title/tt0064354/usercomments\n" * 3
        files[f"aclImdb/{split}/labeledBow.feat"] = b"9 0:9 1:1 2:4\n"
        for label in ("neg", "pos"):
            for i in range(count):
                text = f"{split} {label} {i}: It's a film.<br /><br />caf\u00e9"
                files[f"aclImdb/{split}/{label}/{i}_{i + 1}.txt"] = text.encode()
    files["aclImdb/train/unsup/0_0.txt"] = b"without a label"
    return files


def expected(count: int = 3) -> dict[str, list[tuple[str, str]]]:
    return {
        split: [(f"{split} {label} {i}: It's a film.<br /><br />café", label) for label in ("neg", "pos") for i in range(count)]
        for split in ("train", "test")
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(tmp_path / ARCHIVE, members())


def test_archive(archive: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in (archive, archive.parent):
        source = Imdb(*source_args(path, cache))
        assert source.name == "imdb"
        assert source.read().classes == ("neg", "pos")
        assert read(source) == expected()
    assert "7c2ac02c03563afcf9b574c7e56c153a" in caplog.text, "not the published archive"


def test_unpacked_folder(tmp_path: Path, cache: Path) -> None:
    for name, content in members(12).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    keys = set()
    for path in (tmp_path, tmp_path / "aclImdb"):
        source = Imdb(*source_args(path, cache))
        assert read(source)["test"] == sorted(expected(12)["test"], key=lambda row: (row[1], row[0].split()[2] + "_"))
        keys.add(source.key())
    assert len(keys) == 1
    (tmp_path / "aclImdb" / "test" / "pos" / "0_1.txt").write_text("changed")
    assert Imdb(*source_args(tmp_path, cache)).key() not in keys


def test_key_depends_on_the_archive(archive: Path, cache: Path) -> None:
    key = Imdb(*source_args(archive, cache)).key()
    pack(archive, members(4))
    assert Imdb(*source_args(archive, cache)).key() != key


def test_undecodable_reviews(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "mine.tar.gz", {**members(), "aclImdb/train/pos/9_9.txt": b"caf\xe9"})
    contents = Imdb(*source_args(path, cache, on_error="skip")).read()
    assert rows(contents) == expected()["train"]
    assert contents.unreadable == ["aclImdb/train/pos/9_9.txt (bytes that are not utf-8; give another encoding by --encoding)"]
    with pytest.raises(UserError, match=r"aclImdb/train/pos/9_9.txt \(bytes"):
        read(Imdb(*source_args(path, cache)))


def test_damaged_archives(archive: Path, cache: Path) -> None:
    content = archive.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
    plain = gzip.decompress(content)
    for damaged in (
        content[:middle],
        content[:-8],
        content[:-8] + bytes(8),
        flipped,
        b"",
        b"no archive",
        gzip.compress(plain[: len(plain) // 4]),
    ):
        archive.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{ARCHIVE} (is damaged or cut off .*; get it again|has no reviews in aclImdb)"):
            read(Imdb(*source_args(archive, cache)))
    archive.write_bytes(content)
    with archive.open("ab") as file:
        file.write(gzip.compress(bytes(2_000_000)))
    with pytest.raises(UserError, match="too much data follows"):
        read(Imdb(*source_args(archive, cache)))


def test_a_missing_class_is_refused(tmp_path: Path, cache: Path) -> None:
    files = {name: content for name, content in members().items() if "test/pos" not in name}
    with pytest.raises(UserError, match=f"has no reviews in aclImdb/test/pos; give the published {ARCHIVE}"):
        read(Imdb(*source_args(pack(tmp_path / ARCHIVE, files), cache)))
    for name in members():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match="has no reviews in aclImdb/train/neg"):
        Imdb(*source_args(tmp_path / "aclImdb", cache)).key()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_hostile_members_are_ignored(tmp_path: Path, cache: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    evil: dict[str, bytes | tarfile.TarInfo] = {
        "../evil.txt": b"evil",
        "/evil.txt": b"evil",
        "aclImdb/train/neg/../../../evil.txt": b"evil",
        "/aclImdb/train/neg/8_1.txt": b"evil",
        "a": link("aclImdb/train/neg/9_1.txt", str(secret)),
        "b": link("aclImdb/train/pos/9_1.txt", str(secret), tarfile.LNKTYPE),
        "c": link("aclImdb/train/pos/9_2.txt", "", tarfile.FIFOTYPE),
        "d": link("aclImdb/train/pos/9_3.txt", "", tarfile.DIRTYPE),
    }
    before = set(tmp_path.iterdir())
    path = pack(tmp_path / ARCHIVE, {**evil, **members()})
    assert read(Imdb(*source_args(path, cache))) == expected()
    assert set(tmp_path.iterdir()) - before <= {path, cache}


def test_a_huge_member_is_unreadable(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imdb, "MAX_BYTES", 1000)
    monkeypatch.setattr(text_files, "MAX_BYTES", 1000)
    monkeypatch.setattr(imdb, "MAX_BYTES", 1000)
    path = pack(tmp_path / ARCHIVE, {**members(), "aclImdb/train/neg/9_1.txt": b"x" * 1_000_000})
    contents = Imdb(*source_args(path, cache, on_error="skip")).read()
    assert rows(contents) == expected()["train"]
    assert contents.unreadable == ["aclImdb/train/neg/9_1.txt (more than 1000 bytes)"]


def test_missing_data_and_useless_options_are_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=f"imdb is not there; fetch it with --download, or give {ARCHIVE} as imdb:PATH"):
        Imdb(*source_args(None, cache))
    with pytest.raises(UserError, match=f"gone does not exist; give the published {ARCHIVE}"):
        Imdb(*source_args(tmp_path / "gone", cache))
    with pytest.raises(UserError, match=f"holds neither {ARCHIVE} nor train/neg and"):
        Imdb(*source_args(tmp_path, cache))
    with pytest.raises(UserError, match="imdb has no columns"):
        Imdb(*source_args(tmp_path, cache, text_columns=("text",)))
    with pytest.raises(UserError, match="imdb has an encoding of its own"):
        Imdb(*source_args(tmp_path, cache, encoding="utf-8"))


def test_a_download_must_have_its_checksum(archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(Imdb, "remote", replace(Imdb.remote, size=archive.stat().st_size, md5=digest))
    path = cache / "downloads" / "imdb" / ARCHIVE
    path.parent.mkdir(parents=True)
    path.write_bytes(archive.read_bytes())
    for download in (False, True):
        assert read(Imdb(*source_args(None, cache, download=download))) == expected()
    pack(path, members(2))
    with pytest.raises(UserError, match=r"has changed since it was fetched.*--download"):
        Imdb(*source_args(None, cache)).read()


def test_published_archive() -> None:
    assert Imdb.remote.name == ARCHIVE
    assert Imdb.remote.size == 84125825
