"""Pipes, devices and links to them among the files of a data set: they are broken files, and nothing waits for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from studygroup.data import Dataset, Tokens
from studygroup.data.images.decode import find_images, image_header, read_image
from studygroup.data.texts.paths import find_texts
from studygroup.data.texts.tokenizers import Chars
from studygroup.errors import UserError
from studygroup.regular import open_regular

Open = Callable[..., Dataset]
Make = Callable[..., Path]


def odd_file(kind: str, path: Path) -> Path:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "link to a pipe":
        os.mkfifo(path.with_suffix(".pipe"))
        path.symlink_to(path.with_suffix(".pipe").name)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            here = Path.cwd()
            os.chdir(path.parent)  # names of sockets must be short
            listener.bind(path.name)
            os.chdir(here)
    return path


KINDS = ("pipe", "link to a device", "link to a pipe", "socket")


@pytest.mark.parametrize("kind", KINDS)
def test_images(opened: Open, folder: Make, kind: str) -> None:
    root = folder({"a": 4, "b": 4})
    odd = odd_file(kind, root / "a" / "odd.png")
    with pytest.raises(UserError, match=r"1 image of photos cannot be read: a/odd.png"):
        opened(root)
    assert len(opened(root, on_error="skip", test_size=0).train) == 8
    reason = "No such device or address|" if kind == "socket" else ""
    with pytest.raises(
        UserError, match=rf"odd.png cannot be read: ({reason}a pipe, device or socket, not a regular file); is it an image\?"
    ):
        read_image(find_images(odd)[0], (3, 8, 8))
    assert image_header(odd) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_texts(opened: Open, tmp_path: Path, kind: str) -> None:
    for label in "ab":
        (tmp_path / "t" / label).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "t" / label / f"{k}.txt").write_text(f"text {k} {label}")
    odd = odd_file(kind, tmp_path / "t" / "a" / "odd.txt")
    with pytest.raises(UserError, match=r"a/odd.txt \(.*\) cannot be read"):
        opened(tmp_path / "t", tokenizer="chars")
    assert len(opened(tmp_path / "t", tokenizer="chars", on_error="skip", test_size=0).train) == 6
    assert list(find_texts(str(odd), ())) == [odd]
    reader = Tokens(Chars(), 16)
    with pytest.raises(UserError, match=r"odd.txt cannot be read: (No such device or address|a pipe, device or socket, .*); repair it"):
        reader.read_sample(odd)
    assert [isinstance(read, UserError) for read in reader.read_samples([tmp_path / "t" / "a" / "0.txt", odd])] == [False, True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.zip", "t.npz", "t"])
def test_data(opened: Open, tmp_path: Path, kind: str, name: str) -> None:
    odd = odd_file(kind, tmp_path / name)
    with pytest.raises(UserError, match="is a pipe, device or socket, not a regular file"):
        opened(odd)
    for source in ("table", "folder", "texts", "arrays"):
        with pytest.raises(UserError, match=r"is a pipe|neither a folder nor an archive|does not exist|no table by its name"):
            opened(f"{source}:{odd}")


def test_a_link_to_a_regular_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")
