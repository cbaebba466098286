"""A folder of texts, one sub-folder of `.txt` files per class, as `class_folders` describes it. A file is a text, as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import Kind, as_text, folders, list_files, scan
from studygroup.data.images import decode
from studygroup.data.texts.files import MAX_TEXT, BrokenRows, Meter, check_encoding, encoding_of, undecodable
from studygroup.data.texts.source import RawTexts, RawTextSplit, Row, TextReadOptions, no_columns
from studygroup.errors import UserError

SUFFIX = ".txt"
MAX_BYTES = 4 * MAX_TEXT
TEXTS = Kind("text", partial(list_files, suffixes={SUFFIX}))


def is_text_folder(path: Path) -> bool:
    """Whether a folder has `.txt` files in sub-folders, and no images. Where there are images, it is known as soon as one is found."""
    if not path.is_dir():
        return False
    texts = False
    for name in folders(path):
        for _, inner, files in os.walk(path / name):
            inner[:] = [folder for folder in inner if not folder.startswith(".")]
            suffixes = {os.path.splitext(file)[1].lower() for file in files if not file.startswith(".")}
            if suffixes & decode.suffixes():
                return False
            texts = texts or SUFFIX in suffixes
    return texts


class TextFolder:
    """The texts below `request.path`."""

    def __init__(self, options: TextReadOptions) -> None:
        if options.path is None or not options.path.is_dir():
            raise UserError(f"{options.path} is not a folder; give one with one sub-folder of texts ({SUFFIX}) per class")
        no_columns(options, str(options.path))
        check_encoding(options.encoding)
        self.root, self.options = options.path, options
        self.name = self.root.resolve().name or "folder"
        self.classes, self.samples = scan(self.root, TEXTS)

    def key(self) -> str:
        """See `TextSource`."""
        listed = [(split, sample) for split, samples in self.samples.items() for sample in samples]
        names = [sample.name for _, sample in listed]
        facts = fingerprints(self.root, names, self.options.cache, purpose="texts", progress=self.options.progress)
        content = (
            self.classes,
            self.options.encoding,
            [(split, sample.name, digest) for (split, sample), (digest, _) in zip(listed, facts, strict=True)],
        )
        return hashlib.blake2b(repr(content).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()

    def read(self) -> RawTexts:
        """See `TextSource`."""
        broken = BrokenRows(self.options.on_error, self.name)
        parts = {}
        for split, samples in self.samples.items():
            files = [(sample.name, self.classes[sample.label]) for sample in samples]
            meter = Meter()
            parts[split] = RawTextSplit(texts_of(self.root, files, self.options.encoding, broken, meter), len(files), meter.done)
        return RawTexts(self.classes, parts, broken.names)


def texts_of(root: Path, files: Iterable[Row], encoding: str | None, broken: BrokenRows, meter: Meter) -> Iterator[Row]:
    """The texts of files, given by their name below `root` and their label.

    Args:
        root: a folder.
        files: names and labels.
        encoding: of the files; None for UTF-8, or what a byte order mark says.
        broken: takes those that cannot be read.
        meter: counts the files.
    """
    for name, label in files:
        meter.count += 1
        try:
            with (root / name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            broken.add(f"{as_text(name)} ({error.strerror})", meter.count)
            continue
        text, problem = text_of(data, encoding)
        if problem:
            broken.add(f"{as_text(name)} ({problem})", meter.count)
        else:
            yield text, label


def text_of(data: bytes, encoding: str | None) -> tuple[str, str]:
    """The text that a whole file holds, and what is wrong with it, or nothing."""
    if len(data) > MAX_BYTES:
        return "", f"more than {MAX_BYTES} bytes"
    found = encoding_of(data[:4], encoding)
    try:
        return data.decode(found), ""
    except UnicodeError:
        return "", undecodable(found)
