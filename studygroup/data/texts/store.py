"""A source of texts, read once into flat arrays in the cache; never more than some thousand rows of it are in memory.

<cache>/texts/<name>-<key>/     train_bytes.npy  train_ends.npy  train_labels.npy  (test_...)  meta.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.cache.entries import META, broken_error, cache_dir, cached, check_skipped, hash_of, write_meta
from studygroup.data.progress import progress_bar
from studygroup.data.source import OnError
from studygroup.data.texts.source import RawTexts, TextSource, check_classes, ordered, shorten
from studygroup.errors import UserError

FORMAT = 1
"""Counted up when what is stored of the same source changes."""
SHELF = "texts"
WHAT = "text"
CHUNK_ROWS = 4096
CHUNK_BYTES = 2**23
"""Rows are written when there are so many of them, or when their texts are so large together."""
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Texts:
    """N labelled texts in a file, from which they are read when they are asked for.

    Attributes:
        path: of the file of all bytes, (M,) uint8: the texts in UTF-8, one after the other.
        offset: where in the file the first byte is.
        ends: (N,) int64: where each text ends in the bytes; it starts where the text before ends.
        labels: (N,) int64.
    """

    path: Path
    offset: int
    ends: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N,) bytes of each text."""
        return np.diff(self.ends, prepend=np.int64(0))

    def text(self, position: int) -> str:
        """One text."""
        if not 0 <= position < len(self):
            raise IndexError(f"text {position} of {len(self)}")
        return next(self.texts([position]))

    def texts(self, positions: Iterable[int] | NDArray[np.int64] | None = None) -> Iterator[str]:
        """Texts, one after the other; all by default. In rising order is fastest.

        They are read, not memory-mapped: so the texts that have been read do not count as memory of this process.
        """
        ends = self.ends
        with self.path.open("rb", buffering=2**16) as file:
            here = -1
            for position in range(len(self)) if positions is None else positions:
                start = self.offset + (int(ends[position - 1]) if position else 0)
                stop = self.offset + int(ends[position])
                if start != here:  # to seek empties the buffer
                    file.seek(start)
                yield file.read(stop - start).decode("utf-8")
                here = stop


@dataclass(frozen=True)
class TextStore:
    """What lies in the cache.

    Attributes:
        name: what the source is called.
        classes: names, in the order of the labels.
        splits: `train` and perhaps `test`.
        broken: names of the rows that were skipped.
        key: hash of the source's content and options.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Texts]
    broken: tuple[str, ...]
    key: str


def store(source: TextSource, cache: Path, *, on_error: OnError = "stop", progress: bool = True) -> TextStore:
    """Open what is stored of a source, and store it first if that is not done.

    Args:
        source: the texts.
        cache: the cache's folder.
        on_error: `stop` refuses what was stored by skipping broken rows.
        progress: show progress bars.

    Raises:
        UserError: the source cannot be read or its labels are no classes, or the cache has no room or cannot be written.
    """
    key = hash_of(FORMAT, source.key())
    home = cache_dir(cache, SHELF, source.name, key)
    found = cached(home, cache, partial(_open, home, key), partial(_write, source, on_error, progress))
    check_skipped(found.broken, WHAT, source.name, on_error, home)
    return found


def _open(home: Path, key: str) -> TextStore | None:
    """What lies at `home`, or None if it is not there or is damaged."""
    try:
        meta = json.loads((home / META).read_text(encoding="utf-8"))
        splits = {}
        for name, rows in meta["rows"].items():
            content = np.load(home / f"{name}_bytes.npy", mmap_mode="r")
            ends, labels = (np.load(home / f"{name}_{what}.npy") for what in ("ends", "labels"))
            if not (len(ends) == len(labels) == rows and len(content) == (ends[-1] if rows else 0)):
                return None
            splits[name] = Texts(home / f"{name}_bytes.npy", content.offset, ends, labels)
        return TextStore(meta["name"], tuple(meta["classes"]), splits, tuple(meta["broken"]), key)
    except (OSError, ValueError, KeyError, EOFError):
        return None


class _Labels:
    """Names of classes -> numbers, in the order in which they come while the classes are not known."""

    def __init__(self, classes: Sequence[str] | None, where: str) -> None:
        self.known = classes is not None
        self.where = where
        self.numbers = {name: number for number, name in enumerate(classes or ())}

    def number(self, name: str) -> int:
        """The number of a class by its name.

        Raises:
            UserError: there is no such class, or there are too many.
        """
        if name not in self.numbers:
            if self.known:
                raise UserError(f"{shorten(name)!r} of {self.where} is none of its classes: {shorten(', '.join(self.numbers), 80)}")
            self.numbers[name] = len(self.numbers)
            check_classes(self.numbers, None, self.where)
        return self.numbers[name]


def _write(source: TextSource, on_error: OnError, progress: bool, work: Path) -> None:
    contents = source.read()
    numbers = _Labels(contents.classes, source.name)
    total = sum(part.size for part in contents.parts.values())
    rows = {}
    with progress_bar(f"Preparing {source.name}", total, "share", show=progress) as advance:
        for name, part in contents.parts.items():
            with (
                ArrayFile(work / f"{name}_bytes.npy", (), np.dtype(np.uint8)) as content,
                ArrayFile(work / f"{name}_ends.npy", (), np.dtype(np.int64)) as ends,
                ArrayFile(work / f"{name}_labels.npy", (), np.dtype(np.int64)) as labels,
            ):
                done = 0
                for chunk in chunks(part.rows, lambda row: len(row[0])):
                    texts = [text.encode("utf-8", "replace") for text, _ in chunk]
                    ends.append(content.rows + np.cumsum([len(text) for text in texts], dtype=np.int64))
                    content.append(np.frombuffer(b"".join(texts), dtype=np.uint8))
                    labels.append(np.array([numbers.number(label) for _, label in chunk], dtype=np.int64))
                    advance(part.done() - done)
                    done = part.done()
            rows[name] = labels.rows
    if contents.broken and on_error == "stop":
        raise broken_error(contents.broken, WHAT, source.name)
    classes = _classes(contents, numbers, rows, source.name)
    order = np.array([classes.index(name) for name in numbers.numbers], dtype=np.int64)
    for name in rows:
        path = work / f"{name}_labels.npy"
        found = order[np.load(path)]
        if name == "train":
            _check_train(contents, classes, np.bincount(found, minlength=len(classes)), source.name)
        with ArrayFile(path, (), np.dtype(np.int64)) as labels:
            labels.append(found)
    write_meta(work, {"name": source.name, "classes": classes, "rows": rows, "broken": contents.broken})


def chunks(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Items, some at a time: `CHUNK_ROWS`, or fewer that together are large."""
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += size_of(item)
        if len(chunk) == CHUNK_ROWS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _classes(contents: RawTexts, numbers: _Labels, rows: dict[str, int], where: str) -> tuple[str, ...]:
    """The names in the order of the labels."""
    if not rows["train"]:
        raise UserError(f"{where} has no texts to learn from; give one with texts and labels")
    if contents.classes is None:
        check_classes(numbers.numbers, sum(rows.values()), where)
        return ordered(numbers.numbers)
    if len(contents.classes) < 2:
        raise UserError(f"{where} has {len(contents.classes)} class; at least two are needed")
    return contents.classes


def _check_train(contents: RawTexts, classes: Sequence[str], counts: NDArray[np.int64], where: str) -> None:
    """Is there something to learn every class from, that was found by reading or is left when the broken rows are left out?"""
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty and contents.classes is None:
        raise UserError(f"{shorten(empty[0])!r} is a label of the test set of {where}, but not of its training set; correct or remove it")
    if empty and contents.broken:
        raise UserError(f"no text of class {shorten(empty[0])!r} of {where} can be read: {contents.broken[0]}, …; repair or remove them")
