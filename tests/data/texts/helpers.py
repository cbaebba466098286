"""Creating and reading sources of texts in tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studygroup.data import TextSource
from studygroup.data.source import RawTexts, Row
from studygroup.options import DataOptions


def source_args(path: Path | None, cache: Path, **options: Any) -> tuple[Path | None, DataOptions]:
    """Arguments of a source, with default options."""
    return path, DataOptions("", cache=cache, progress=False, **options)


def rows(raw: RawTexts, split: str = "train") -> list[Row]:
    """All rows of a split; the meter counts to its end."""
    found = raw.splits[split]
    assert found.meter is not None
    assert found.meter.count == 0
    items = list(found.items)
    assert found.meter.count == found.size
    return items


def read(source: TextSource) -> dict[str, list[Row]]:
    """All rows, by split."""
    raw = source.read()
    return {split: rows(raw, split) for split in raw.splits}


def pack(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """A tar.gz archive of files; a member that is no plain file is given as its header."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
