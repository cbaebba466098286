"""Names and texts that others wrote, made safe for a CSV file, a Markdown table and a line of a picture."""

from __future__ import annotations

import re
import unicodedata

FORMULA = ("=", "@", "+", "-", "\t", "\r")
"""What a spreadsheet takes for the begin of a formula (OWASP, CSV injection)."""
MARKDOWN = re.compile(r"([\\`*_\[\]<>|~$#!])")


def csv_cell(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula: with an apostrophe before `=`, `@`, `+`, `-`, unless it is a number."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return f"'{text}" if text.lstrip(" \n").startswith(FORMULA) and not _is_number(text) else text


def markdown_cell(text: str) -> str:
    """Return a text in one line that Markdown shows as it is: no table, link, image, HTML or emphasis begins in it."""
    return MARKDOWN.sub(r"\\\1", one_line(text)).replace("\\<", "&lt;").replace("\\>", "&gt;")


def one_line(text: str) -> str:
    """Return a text in one line: white space becomes a space; characters that cannot be seen, and half surrogate pairs, become `?`."""
    line = " ".join(text.split())
    return "".join("?" if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn") else letter for letter in line)


def shortened(text: str, length: int = 40) -> str:
    """Return a text in one line of at most so many characters."""
    line = one_line(text[: 20 * length])
    return line if len(line) <= length and len(text) <= 20 * length else line[: length - 1] + "…"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
