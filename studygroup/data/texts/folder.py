"""A folder of texts, one sub-folder of `.txt` files per class (see `class_folders`). Each file is one text, unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from studygroup.data.cache.entries import digest
from studygroup.data.class_folders import FileKind, FolderContent, list_files, printable
from studygroup.data.source import Meter, RawSplit, RawTexts, Row, TextSource
from studygroup.data.texts.columns import refuse_columns
from studygroup.data.texts.files import MAX_TEXT, UnreadableRows, check_encoding, detect_encoding, encoding_problem
from studygroup.errors import UserError
from studygroup.options import DataOptions

SUFFIX = ".txt"
MAX_BYTES = 4 * MAX_TEXT
TEXTS = FileKind("text", partial(list_files, suffixes={SUFFIX}))


class TextFolder(TextSource):
    """The texts in a folder."""

    description = f"any folder of texts ({SUFFIX}) with one sub-folder per class, or with such folders train/ and test/: give its path"
    requires_path = True

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        if path is None or not path.is_dir():
            raise UserError(f"{path} is not a folder; give one with one sub-folder of texts ({SUFFIX}) per class")
        refuse_columns(options, str(path))
        check_encoding(options.encoding)
        self.name = path.resolve().name or "folder"
        self.content = FolderContent.scan(path, TEXTS)

    def key(self) -> str:
        """See `Source`."""
        found = self.content.fingerprints(self.cache, purpose="texts", progress=self.options.progress)
        return digest(self.content.classes, self.options.encoding, [(split, name, content) for split, name, content, _ in found])

    def read(self) -> RawTexts:
        """See `Source`."""
        unreadable = UnreadableRows(self.options.on_error, self.name)
        splits = {}
        for split, samples in self.content.samples.items():
            files = [(sample.name, self.content.classes[sample.label]) for sample in samples]
            meter, names = Meter(), list[str]()
            rows = read_files(self.content.root, files, self.options.encoding, unreadable, meter, names)
            splits[split] = RawSplit(rows, len(files), meter, names)
        return RawTexts(self.content.classes, splits, unreadable.names)


def read_files(
    root: Path, files: Iterable[Row], encoding: str | None, unreadable: UnreadableRows, meter: Meter, names: list[str]
) -> Iterator[Row]:
    """Yield the texts of files with their labels.

    Args:
        root: a folder.
        files: paths relative to it, and labels.
        encoding: encoding of the files; None for UTF-8 or that of a byte order mark.
        unreadable: collects the files that cannot be read.
        meter: counts the files.
        names: collects the names of the files whose texts are yielded.
    """
    for name, label in files:
        meter.count += 1
        try:
            with (root / name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            unreadable.add(f"{printable(name)} ({error.strerror})", meter.count)
            continue
        text, problem = decode_text(data, encoding)
        if problem:
            unreadable.add(f"{printable(name)} ({problem})", meter.count)
        else:
            names.append(name)
            yield text, label


def decode_text(data: bytes, encoding: str | None) -> tuple[str, str]:
    """Return the text of a file, and its problem or an empty string."""
    if len(data) > MAX_BYTES:
        return "", f"more than {MAX_BYTES} bytes"
    found = detect_encoding(data[:4], encoding)
    try:
        return data.decode(found), ""
    except UnicodeError:
        return "", encoding_problem(found)
