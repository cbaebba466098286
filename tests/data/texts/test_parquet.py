"""Tables in Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from studygroup.data.source import Row
from studygroup.data.texts.table import Table
from studygroup.errors import UserError
from tests.data.texts.helpers import read, rows, source_args


def read_and_skip(source: Table) -> tuple[list[Row], list[str]]:
    """The rows, and the unreadable ones that were skipped."""
    raw = source.read()
    return rows(raw), raw.unreadable


def test_table(tmp_path: Path, cache: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def table(columns: dict[str, Any], **options: Any) -> Table:
        parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet", row_group_size=100)
        return Table(*source_args(tmp_path / "t.parquet", cache, **options))

    texts = ["", "ü😀", *(f"text {i}" for i in range(998))]
    assert read(table({"text": texts, "label": [i % 3 for i in range(1000)]}))["train"] == [
        (text, str(i % 3)) for i, text in enumerate(texts)
    ]
    assert read(table({"text": texts[:2], "label": pyarrow.array(["x", "y"]).dictionary_encode()}))["train"] == [("", "x"), ("ü😀", "y")]
    assert read(table({"x": texts[2:], "y": [i % 2 == 0 for i in range(998)]}))["train"][:2] == [("text 0", "true"), ("text 1", "false")]
    bad = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xff")]
    )
    assert read_and_skip(table({"text": bad, "label": [1, 2]}, on_error="skip")) == (
        [("a", "1")],
        ["row 2 of t.parquet (column 'text' has bytes that are not utf-8)"],
    )
    assert read_and_skip(table({"text": ["a", None, "c"], "label": [1.5, 2, None]}, on_error="skip")) == (
        [("a", "1.5")],
        ["row 2 of t.parquet (column 'text' is missing)", "row 3 of t.parquet (no label)"],
    )
    with pytest.raises(UserError, match=r"row 1 of t.parquet \(column 'text' is 1, not a text\)"):
        read(table({"text": [1, 2], "label": [1, 2]}))
    with pytest.raises(UserError, match=r"t.parquet has no column 'txt'; it has 'text', 'label'"):
        table({"text": ["a"], "label": [1]}, text_columns=("txt",)).key()
    with pytest.raises(UserError, match="encoding of its own"):
        table({"text": ["a"], "label": [1]}, encoding="latin-1")
    content = (tmp_path / "t.parquet").read_bytes()
    for damaged in (b"", content[:-20], b"text,label\n"):
        (tmp_path / "t.parquet").write_bytes(damaged)
        with pytest.raises(UserError, match=r"t.parquet cannot be read as Parquet .*; get or write it again"):
            Table(*source_args(tmp_path / "t.parquet", cache))


def test_missing_pyarrow_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "t.parquet").touch()
    with pytest.raises(UserError, match=r"pip install 'studygroup\[parquet\]'"):
        Table(*source_args(tmp_path / "t.parquet", cache))
