"""Texts that look like paths: what a user meant as a file must not be classified as a text."""

from __future__ import annotations

import os
from collections.abc import Iterable

from studygroup.data.texts.table import SUFFIXES as TABLE_SUFFIXES

FILE_SUFFIXES = (".txt", ".json", ".gz", ".zip", ".xlsx", ".xls", ".ods", ".pdf", ".docx", ".doc", ".md", ".html", ".xml", ".log", ".npy")
MAX_WORDS = 3
"""Number of words of the name of a table; a longer text may end like one."""


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
