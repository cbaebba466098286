"""What a data set of texts has to offer to be prepared: the contract of the sources of texts, and what may be a class.

Texts are handed on as they are: not trimmed, not lower-cased, with line breaks and tags. An empty text is a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from studygroup.data.source import OnError
from studygroup.errors import UserError

MAX_CLASSES = 1000
"""Distinct labels above which a column is not taken for one of classes."""
ALL_DIFFERENT = 10
"""Rows from which on labels that are all different are not taken for classes."""
SHOWN = 3
"""Labels that a message gives as examples."""

Row = tuple[str, str]
"""A text, and its label's name."""


@dataclass(frozen=True)
class RawTextSplit:
    """The texts of one split.

    Attributes:
        rows: the texts and their labels' names, read as they are asked for, once.
        size: of the progress bar: how much there is to read, in the units of `done`.
        done: how much of it has been read so far (rows, files or bytes).
    """

    rows: Iterator[Row]
    size: int
    done: Callable[[], int]


@dataclass(frozen=True)
class RawTexts:
    """What is in a source of texts.

    Attributes:
        classes: names, in the order of the labels, if known before reading; None for the labels that come, as `ordered` sorts them.
        parts: `train` and `test`, or `train` alone if the source has no test set of its own. One may be read after the other, in any order.
        broken: what could not be read, e.g. "row 17 of reviews.csv (line 18: 2 columns instead of 3)"; complete once the parts are read.
    """

    classes: tuple[str, ...] | None
    parts: dict[str, RawTextSplit]
    broken: list[str] = field(default_factory=list)


class TextSource(Protocol):
    """A data set of texts where it lies. To open one checks that it is there, and reads as little as possible.

    Attributes:
        name: what the data set is called in tables.
    """

    name: str

    def key(self) -> str:
        """Hash of everything that the rows depend on: the content of the files, and the options.

        Raises:
            UserError: the content cannot be used as it is asked for.
        """

    def read(self) -> RawTexts:
        """Start to read.

        Raises:
            UserError: the content is not what it should be, or cannot be read. (An `OSError` would be taken for the cache's.) Reading
                the parts' rows raises it, too: for a row that is broken, if such are not to be skipped, and for a damaged file.
        """


@dataclass(frozen=True)
class TextReadOptions:
    """What the user asked for, as the sources of texts need it.

    Attributes:
        path: where the data lies, if given; for `hub:NAME` the name.
        text_columns: the columns of a table that hold the text, joined by a space; none to have them found.
        label_column: the column that holds the label; None to have it found.
        encoding: of the files; None for UTF-8, or what a byte order mark says.
        broken: what a row that cannot be read does.
        download: whether a missing file may be fetched.
        cache: where fetched files and prepared data are kept.
        progress: whether progress bars are shown.
    """

    path: Path | None
    text_columns: tuple[str, ...]
    label_column: str | None
    encoding: str | None
    on_error: OnError
    download: bool
    cache: Path
    progress: bool


def no_columns(options: TextReadOptions, where: str) -> None:
    """Refuse the choice of columns where there are none.

    Raises:
        UserError: columns were asked for.
    """
    if options.text_columns or options.label_column is not None:
        flag = "--text-columns" if options.text_columns else "--label-column"
        raise UserError(f"{where} has no columns to choose from; leave out {flag}")


def no_encoding(options: TextReadOptions, where: str) -> None:
    """Refuse the choice of an encoding where it is stated by what is read.

    Raises:
        UserError: one was asked for.
    """
    if options.encoding is not None:
        raise UserError(f"{where} has an encoding of its own; leave out --encoding {options.encoding}")


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Labels in the order of their numbers: by value if all are whole numbers, else by name."""
    distinct = set(names)
    if all(re.fullmatch(r"[+-]?[0-9]+", name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def check_classes(names: Collection[str], rows: int | None, where: str) -> None:
    """Can these labels be classes? For labels that are found by reading; to be called with all of them at the end, and whenever one is new.

    Args:
        names: the distinct labels that have come so far.
        rows: how many rows they came with, once all are read; None before.
        where: what is read, for the message.

    Raises:
        UserError: there are too many, all rows differ, they are numbers with fractions, or there are fewer than two.
    """
    remedy = "give a column of classes (--label-column)"
    if len(names) > MAX_CLASSES:
        raise UserError(f"the labels of {where} have more than {MAX_CLASSES} values ({_some(names)}), too many for classes; {remedy}")
    if rows is None:
        return
    if not names:
        raise UserError(f"{where} has no rows; give a table of texts and labels")
    if len(names) == 1:
        raise UserError(f"all labels of {where} are {_some(names)}; at least two classes are needed")
    if all(map(is_number, names)) and (fractions := [name for name in names if not float(name).is_integer()]):
        raise UserError(
            f"the labels of {where} are numbers with fractions ({_some(fractions)}), not classes; {remedy}, or name classes in their place"
        )
    if len(names) == rows >= ALL_DIFFERENT:
        raise UserError(f"the labels of {where} are different in all of its {rows} rows ({_some(names)}), so they are no classes; {remedy}")


def is_number(name: str) -> bool:
    """Whether a label is a number, perhaps with a fraction or an exponent."""
    return re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", name) is not None


def _some(names: Iterable[str]) -> str:
    """A few labels, shortened."""
    names = sorted(names)
    return ", ".join(repr(shorten(name)) for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def shorten(text: str, length: int = 40) -> str:
    """A text as it can stand in a message: in one line, at most `length` characters, writable anywhere."""
    start = " ".join(text[: 4 * length].split())
    start = start if len(start) <= length and len(text) <= 4 * length else start[: length - 1] + "…"
    return start.encode("utf-8", "replace").decode("utf-8")
