"""IMDb's large movie review data set (Maas et al., ACL 2011): 25,000 reviews for training and for the test, negative or positive.

The published archive is a gzipped tar of a file per review, `aclImdb/train/neg/0_3.txt`; the reviews without labels (`train/unsup`) are
ignored. Texts are unchanged, with their `<br />` tags. Rows are in the archive's order; those of its unpacked folder class by class.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from studygroup.data.cache.download import RemoteFile, download_dir, find_download, verify_checksum
from studygroup.data.cache.entries import text_digest
from studygroup.data.cache.fingerprint import files_digest, fingerprints
from studygroup.data.class_folders import list_files
from studygroup.data.source import Meter, RawSplit, RawTexts, Row, TextSource
from studygroup.data.texts.archive import archive_files, locate
from studygroup.data.texts.columns import refuse_columns, refuse_encoding
from studygroup.data.texts.files import MAX_BYTES, UnreadableRows, decode_text, file_size, read_errors
from studygroup.data.texts.folder import SUFFIX, read_files
from studygroup.errors import UserError
from studygroup.options import DataOptions

FOLDER = "aclImdb"
SPLITS = ("train", "test")
CLASSES = ("neg", "pos")
CONTENTS = tuple(f"{split}/{label}" for split in SPLITS for label in CLASSES)


class Imdb(TextSource):
    """The archive, a folder with the archive or with its unpacked folder, or an earlier download."""

    name = "imdb"
    description = "50,000 film reviews, negative or positive; the published archive aclImdb_v1.tar.gz, or --download"
    remote = RemoteFile("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz", 84125825, "7c2ac02c03563afcf9b574c7e56c153a")

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        refuse_columns(options, self.name)
        refuse_encoding(options, self.name)
        self.location = find_download(self.remote, self) if path is None else locate(path, self.remote.name, FOLDER, CONTENTS)

    def key(self) -> str:
        """See `Source`."""
        if self.location.is_file():
            return files_digest(self.location, (), self.cache, purpose=self.name)
        names = [name for split in SPLITS for name, _ in self._files(split)]
        found = fingerprints(self.location, names, self.cache, purpose=self.name, progress=self.options.progress)
        return text_digest("\n".join(f"{name} {content}" for name, (content, _) in zip(names, found, strict=True)))

    def read(self) -> RawTexts:
        """See `Source`."""
        unreadable = UnreadableRows(self.options.on_error, self.name)
        splits = {}
        if self.location.is_file():
            verify_checksum(self.remote, self.location, download_dir(self))
        for split in SPLITS:
            meter, names = Meter(), list[str]()
            if self.location.is_file():
                splits[split] = RawSplit(self._read_archive(split, unreadable, meter, names), file_size(self.location), meter, names)
            else:
                files = self._files(split)
                rows = read_files(self.location, files, "utf-8", unreadable, meter, names)
                splits[split] = RawSplit(rows, len(files), meter, names)
        return RawTexts(CLASSES, splits, unreadable.names)

    def _files(self, split: str) -> list[Row]:
        """Return the files of the unpacked folder and their labels."""
        found = [(f"{split}/{label}/{name}", label) for label in CLASSES for name in list_files(self.location / split / label, {SUFFIX})]
        self._check_classes({label for _, label in found}, split)
        return found

    def _read_archive(self, split: str, unreadable: UnreadableRows, meter: Meter, names: list[str]) -> Iterator[Row]:
        """Yield the reviews of the archive."""

        def select(name: PurePosixPath) -> bool:
            return len(name.parts) == 4 and name.parts[:2] == (FOLDER, split) and name.parts[2] in CLASSES and name.suffix == SUFFIX

        count, labels = 0, set()
        with read_errors(self.location):
            for name, file, size in archive_files(self.location, select, meter):
                label = name.parts[2]
                count += 1
                labels.add(label)
                text, problem = decode_text(file.read(min(size, MAX_BYTES + 1)), "utf-8")
                if problem:
                    unreadable.add(f"{name} ({problem})", count)
                else:
                    names.append(name.relative_to(FOLDER).as_posix())
                    yield text, label
        self._check_classes(labels, split)

    def _check_classes(self, labels: Collection[str], split: str) -> None:
        """Check that there are reviews of both classes."""
        if missing := [label for label in CLASSES if label not in labels]:
            raise UserError(f"{self.location} has no reviews in {FOLDER}/{split}/{missing[0]}; give the published {self.remote.name}")
