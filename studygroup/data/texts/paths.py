"""What a given text stands for: itself, or files. What a user meant as a file must not be classified as a text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from studygroup.data.class_folders import list_files
from studygroup.data.texts.table import SUFFIXES as TABLE_SUFFIXES
from studygroup.data.texts.table import table_suffix
from studygroup.errors import UserError

FILE_SUFFIXES = (".txt", ".json", ".gz", ".zip", ".xlsx", ".xls", ".ods", ".pdf", ".docx", ".doc", ".md", ".html", ".xml", ".log", ".npy")
MAX_WORDS = 3
"""Number of words of the name of a table; a longer text may end like one."""


def find_texts(given: str | Path, suffixes: Iterable[str]) -> Iterable[str | Path]:
    """Return the texts that an input of `predict` refers to.

    Args:
        given: a text; a file with one; a folder, of whose `.txt` files each is one; or `-` for the lines of standard input, as they come.
        suffixes: of files that are no texts, in lower case with the dot.

    Raises:
        UserError: it is a file that cannot be used so, or looks like one that does not exist.
    """
    if given == "-":
        return (line.rstrip("\r\n") for line in sys.stdin)
    if given == "":  # an empty text; as a path it would be the current folder
        return [""]
    try:
        path = Path(given).expanduser()
        is_folder, is_file = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError):  # no path: too long, with a zero byte, or the home of an unknown user
        return [str(given)]
    if is_folder:
        if not (found := list_files(path, {".txt"})):
            raise UserError(f"{path} has no texts; give a folder with .txt files")
        return [path / name for name in found]
    if is_file and table_suffix(path) is not None:
        raise UserError(f"{given} is a table; classify its rows by --data {given} (`studygroup.predict(run, data=...)`)")
    if is_file:  # if it is not a regular one, it cannot be read
        return [path]
    if isinstance(given, Path) or looks_like_file(given, suffixes):
        raise UserError(f"{given} does not exist; give a file that does, or, if it is a text to classify, --as-text (as_text=True)")
    return [given]


def looks_like_file(text: str, suffixes: Iterable[str]) -> bool:
    """Return whether a text looks like a path: a word with a slash or a file's suffix, or a few words that end like the name of a table.

    Args:
        text: given as an input.
        suffixes: further suffixes of files, in lower case with the dot.
    """
    name, words = text.lower(), text.split()
    if words == [text]:
        return os.sep in text or name.endswith((*FILE_SUFFIXES, *TABLE_SUFFIXES, *suffixes))
    return "\n" not in text and len(words) <= MAX_WORDS and name.endswith(TABLE_SUFFIXES)
