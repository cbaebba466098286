"""Folders of texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from studygroup.data.sources import is_text_folder
from studygroup.data.texts import files as text_files
from studygroup.data.texts.folder import TextFolder
from studygroup.data.texts.prepare import TextPreparation
from studygroup.errors import UserError
from tests.data.texts.helpers import read, rows, source_args

Write = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Write files below a folder: `written({"pos/1.txt": "good"})`."""

    def write(files: Mapping[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "texts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "texts"

    return write


def test_one_folder(written: Write, cache: Path) -> None:
    root = written(
        {
            "pos/2.txt": "good\r\nfilm\n",
            "pos/1.TXT": "",
            "neg/deep/down/1.txt": "bäd\0",
            "neg/.hidden/1.txt": "hidden",
            "neg/.2.txt": "hidden",
            "neg/notes.md": "no text",
            ".git/1.txt": "hidden",
            "README.txt": "beside",
        }
    )
    source = TextFolder(*source_args(root, cache))
    assert source.name == "texts"
    assert source.read().classes == ("neg", "pos")
    assert read(source) == {"train": [("bäd\0", "neg"), ("", "pos"), ("good\r\nfilm\n", "pos")]}


def test_folders_of_training_and_test_set(written: Write, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = written({f"{split}/{label}/1.txt": f"{split} {label}" for split in ("train", "test", "unsup") for label in ("a", "b")})
    source = TextFolder(*source_args(root, cache))
    assert read(source) == {"train": [("train a", "a"), ("train b", "b")], "test": [("test a", "a"), ("test b", "b")]}
    assert "unsup" in caplog.text
    (root / "test" / "c").mkdir()
    with pytest.raises(UserError, match=r"class 'c' of .*test has no texts"):
        TextFolder(*source_args(root, cache))
    written({"test/c/1.txt": "x"})
    with pytest.raises(UserError, match="'c' is in test/, but not in train/"):
        TextFolder(*source_args(root, cache))


def test_invalid_folders_are_refused(written: Write, cache: Path, tmp_path: Path) -> None:
    root = written({"1.txt": "x"})
    for path, message in [
        (root / "1.txt", "1.txt is neither a folder nor an archive; give a folder with one sub-folder of texts"),
        (tmp_path / "gone", "gone does not exist; give a folder with one sub-folder of texts"),
        (root, "no sub-folders; its texts are directly in it"),
    ]:
        with pytest.raises(UserError, match=message):
            TextFolder(*source_args(path, cache))
    written({"a/1.txt": "x"})
    source = TextFolder(*source_args(root, cache))
    with pytest.raises(UserError, match="single class 'a'"):
        TextPreparation(source, source.options).prepare()
    assert TextPreparation(source, source.options, fewest_classes=1).prepare().classes == ("a",)
    with pytest.raises(UserError, match="no columns to choose from"):
        TextFolder(*source_args(root, cache, label_column="a"))
    with pytest.raises(UserError, match="unknown encoding"):
        TextFolder(*source_args(root, cache, encoding="klingon"))


def test_encodings(written: Write, cache: Path) -> None:
    root = written({"a/1.txt": "é".encode("latin-1"), "b/1.txt": "ü".encode("utf-16"), "b/2.txt": "ü".encode("utf-8-sig")})
    assert read(TextFolder(*source_args(root, cache, encoding="latin-1")))["train"][0] == ("é", "a")
    contents = TextFolder(*source_args(root, cache, on_error="skip")).read()
    assert rows(contents) == [("ü", "b"), ("ü", "b")]
    assert contents.unreadable == ["a/1.txt (bytes that are not utf-8; give another encoding by --encoding)"]
    with pytest.raises(UserError, match=r"a/1.txt \(bytes that are not utf-8.*cannot be read; repair or remove it, or skip"):
        read(TextFolder(*source_args(root, cache)))


def test_unreadable_texts_are_skipped(written: Write, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MAX_BYTES", 1000)
    root = written({"a/1.txt": "x" * 1000, "a/2.txt": "x" * 1001, "b/1.txt": "y", "b/2.txt": "z"})
    source = TextFolder(*source_args(root, cache, on_error="skip"))
    (root / "b" / "2.txt").unlink()
    contents = source.read()
    assert rows(contents) == [("x" * 1000, "a"), ("y", "b")]
    assert contents.unreadable == ["a/2.txt (more than 1000 bytes)", "b/2.txt (No such file or directory)"]


def test_a_million_characters(written: Write, cache: Path) -> None:
    text = "длинный " * 125_000
    assert read(TextFolder(*source_args(written({"a/1.txt": text, "b/1.txt": "x"}), cache)))["train"][0] == (text, "a")


def test_key_depends_on_content_names_and_encoding(written: Write, cache: Path) -> None:
    def key(root: Path, encoding: str | None = None) -> str:
        return TextFolder(*source_args(root, cache, encoding=encoding)).key()

    root = written({"a/1.txt": "x", "b/1.txt": "y"})
    keys = [key(root), key(root, "latin-1")]
    for change in ({"b/1.txt": "z"}, {"b/2.txt": "z"}, {"c/1.txt": "z"}):
        written(change)
        keys.append(key(root))
    (root / "c").rename(root / "d")
    keys.append(key(root))
    assert len(set(keys)) == 6
    os.utime(root / "a" / "1.txt")
    assert key(root) == keys[-1]


def test_folders_of_texts_are_recognised(written: Write, tmp_path: Path) -> None:
    root = written({"train/a/1.txt": "x", "train/a/notes.md": "x"})
    assert is_text_folder(root)
    assert is_text_folder(root / "train")
    assert not is_text_folder(root / "train" / "a"), "no sub-folders"
    assert not is_text_folder(tmp_path / "gone")
    assert not is_text_folder(root / "train" / "a" / "1.txt")
    Image.new("L", (2, 2)).save(root / "beside.png")
    (root / "train" / ".hidden").mkdir()
    Image.new("L", (2, 2)).save(root / "train" / ".hidden" / "thumb.png")
    assert is_text_folder(root)
    Image.new("L", (2, 2)).save(root / "train" / "a" / "1.png")
    assert not is_text_folder(root), "images with a text each are images"
    assert not is_text_folder(tmp_path / "texts" / "train" / "a")
