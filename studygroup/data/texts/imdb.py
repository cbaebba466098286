"""IMDb's large movie review data set (Maas et al., ACL 2011): 25,000 reviews for training and for the test, negative or positive.

The published archive is a gzipped tar of a file per review, `aclImdb/train/neg/0_3.txt`; what is there without labels (`train/unsup`) is
left out. Reviews are taken as they are, with their `<br />` tags. Rows come in the archive's order; of its unpacked folder, class by class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from studygroup.data.cache.archive import locate, members
from studygroup.data.cache.download import RemoteFile, fetch, verify_checksum
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import list_files
from studygroup.data.texts.files import BrokenRows, Meter, file_size, reading
from studygroup.data.texts.folder import MAX_BYTES, SUFFIX, text_of, texts_of
from studygroup.data.texts.source import RawTexts, RawTextSplit, Row, TextReadOptions, no_columns, no_encoding
from studygroup.errors import UserError

PUBLISHED = RemoteFile(
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    84125825,
    "7c2ac02c03563afcf9b574c7e56c153a",
)
FOLDER = "aclImdb"
SPLITS = ("train", "test")
CLASSES = ("neg", "pos")
INSIDE = tuple(f"{split}/{label}" for split in SPLITS for label in CLASSES)


class Imdb:
    """The archive, a folder with the archive or with its unpacked folder, or what was fetched before."""

    name = "imdb"

    def __init__(self, options: TextReadOptions) -> None:
        no_columns(options, self.name)
        no_encoding(options, self.name)
        self.options = options
        self.fetched = options.cache / "downloads" / self.name
        self.place = self._find()

    def key(self) -> str:
        """See `TextSource`."""
        if self.place.is_file():
            content = fingerprints(self.place.parent, [self.place.name], self.options.cache, purpose=self.name, progress=False)
            words = [digest for digest, _ in content]
        else:
            names = [name for split in SPLITS for name, _ in self._files(split)]
            content = fingerprints(self.place, names, self.options.cache, purpose=self.name, progress=self.options.progress)
            words = [f"{name} {digest}" for name, (digest, _) in zip(names, content, strict=True)]
        return hashlib.blake2b("\n".join(words).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()

    def read(self) -> RawTexts:
        """See `TextSource`."""
        broken = BrokenRows(self.options.on_error, self.name)
        parts = {}
        if self.place.is_file():
            verify_checksum(PUBLISHED, self.place, self.fetched)
        for split in SPLITS:
            meter = Meter()
            if self.place.is_file():
                parts[split] = RawTextSplit(self._archived(split, broken, meter), file_size(self.place), meter.done)
            else:
                files = self._files(split)
                parts[split] = RawTextSplit(texts_of(self.place, files, "utf-8", broken, meter), len(files), meter.done)
        return RawTexts(CLASSES, parts, broken.names)

    def _files(self, split: str) -> list[Row]:
        """The files of the unpacked folder and their labels."""
        found = [(f"{split}/{label}/{name}", label) for label in CLASSES for name in list_files(self.place / split / label, {SUFFIX})]
        _check(found, split, self.place)
        return found

    def _archived(self, split: str, broken: BrokenRows, meter: Meter) -> Iterator[Row]:
        """The reviews of the archive."""

        def wanted(name: PurePosixPath) -> bool:
            return len(name.parts) == 4 and name.parts[:2] == (FOLDER, split) and name.parts[2] in CLASSES and name.suffix == SUFFIX

        found: dict[str, int] = dict.fromkeys(CLASSES, 0)
        with reading(self.place):
            for name, file, size in members(self.place, wanted, meter):
                label = name.parts[2]
                found[label] += 1
                text, problem = text_of(file.read(min(size, MAX_BYTES + 1)), "utf-8")
                if problem:
                    broken.add(f"{name} ({problem})", sum(found.values()))
                else:
                    yield text, label
        _check([(label, label) for label, count in found.items() if count], split, self.place)

    def _find(self) -> Path:
        """The archive or the unpacked folder."""
        if self.options.path is not None:
            return locate(self.options.path, PUBLISHED.name, FOLDER, INSIDE)
        if self.options.download:
            return fetch(PUBLISHED, self.fetched, self.options.cache, progress=self.options.progress)
        if (self.fetched / PUBLISHED.name).is_file():
            return self.fetched / PUBLISHED.name
        raise UserError(f"{self.name} is not there; fetch it with --download, or give {PUBLISHED.name} as {self.name}:PATH")


def _check(rows: list[Row], split: str, place: Path) -> None:
    """Are there reviews of both classes?"""
    if missing := [label for label in CLASSES if label not in {label for _, label in rows}]:
        raise UserError(f"{place} has no reviews in {FOLDER}/{split}/{missing[0]}; give the published {PUBLISHED.name}")
