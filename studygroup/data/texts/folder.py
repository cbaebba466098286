"""A folder of texts, one sub-folder of `.txt` files per class (see `class_folders`). Each file is one text, unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from studygroup.data.archives import open_content
from studygroup.data.cache.entries import digest
from studygroup.data.class_folders import FileKind, printable
from studygroup.data.source import Meter, RawSplit, RawTexts, Row, TextSource
from studygroup.data.texts.columns import refuse_columns
from studygroup.data.texts.files import UnreadableRows, check_encoding, read_text
from studygroup.options import DataOptions

SUFFIX = ".txt"
TEXTS = FileKind("text", lambda: frozenset({SUFFIX}))


class TextFolder(TextSource):
    """The texts in a folder."""

    description = (
        f"a folder of texts ({SUFFIX}), one sub-folder per class, perhaps in train/ and test/, or an archive of one: give its path"
    )
    requires_path = True

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        refuse_columns(options, str(path))
        check_encoding(options.encoding)
        self.name, self.content = open_content(path, TEXTS, self.cache)

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
            text, problem = read_text(root / name, encoding)
        except OSError as error:
            unreadable.add(f"{printable(name)} ({error.strerror})", meter.count)
            continue
        if problem:
            unreadable.add(f"{printable(name)} ({problem})", meter.count)
        else:
            names.append(name)
            yield text, label
