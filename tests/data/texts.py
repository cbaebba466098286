"""Asking for texts, and reading them, as the tests of their sources do."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studygroup.data.texts.source import RawTexts, Row, TextReadOptions, TextSource


def asked(path: Path | None, cache: Path, **options: Any) -> TextReadOptions:
    """A request with the defaults of the command line."""
    defaults: dict[str, Any] = {"text_columns": (), "label_column": None, "encoding": None, "on_error": "stop", "download": False}
    return TextReadOptions(path=path, cache=cache, progress=False, **(defaults | options))


def rows(contents: RawTexts, split: str = "train") -> list[Row]:
    """All rows of a split; that they were all read is what the progress says then."""
    part = contents.parts[split]
    assert part.done() == 0
    found = list(part.rows)
    assert part.done() == part.size
    return found


def read(source: TextSource) -> dict[str, list[Row]]:
    """All rows, by split."""
    contents = source.read()
    return {split: rows(contents, split) for split in contents.parts}


def pack(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """A tar.gz archive of files; a member that is none is given as its header."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
