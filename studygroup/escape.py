"""Names and texts that others wrote, made safe for a terminal, JSON, a CSV file, a Markdown table and a line of a picture."""

from __future__ import annotations

import re
import unicodedata

FORMULA = ("=", "@", "+", "-", "\t", "\r")
"""What a spreadsheet takes for the begin of a formula (OWASP, CSV injection)."""
MARKDOWN = re.compile(r"([\\`*\[\]<>|~$#!]|(?<!\w)_|_(?!\w))")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change colours or the direction of writing, and more, and what cannot be encoded."""


def visible(text: str) -> str:
    """Return a text that does not control a terminal: with `?` for control characters, but line breaks and tabs."""
    return CONTROL.sub("?", text)


def visible_json(text: str) -> str:
    """Return JSON with the same content and no control characters."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def csv_cell(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula: with an apostrophe before `=`, `@`, `+`, `-`, unless it is a number."""
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
