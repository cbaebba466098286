"""What separates the columns of a table, and whether its first row is a header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studygroup.data.source import Row
from studygroup.data.texts.table import Table
from studygroup.errors import UserError
from studygroup.options import DataOptions
from tests.data.texts.helpers import read, source_args

ROWS = [("a, b; c | d\te", "x"), ("two\nlines", "y"), ("z", "x")]


def write(path: Path, delimiter: str, header: str = "text{}label") -> Path:
    """A table of `ROWS`, all texts in quotes."""
    lines = [header.format(delimiter), *(f'"{text}"{delimiter}{label}' for text, label in ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows(path: Path, cache: Path, **options: Any) -> list[Row]:
    return read(Table(*source_args(path, cache, **options)))["train"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize(("delimiter", "shown"), [(",", "commas"), (";", "semicolons"), ("|", "|"), ("\t", "tabs")])
def test_the_delimiter_is_found_and_said(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, name: str, delimiter: str, shown: str
) -> None:
    assert rows(write(tmp_path / name, delimiter), cache) == ROWS
    usual = delimiter == {"t.csv": ",", "t.tsv": "\t"}[name]
    assert (f"{name}: columns are separated by {shown}" in caplog.text) == (not usual)


@pytest.mark.parametrize(("given", "delimiter"), [("#", "#"), ("tab", "\t"), ("\\t", "\t"), (";", ";")])
def test_a_given_delimiter_is_taken(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, given: str, delimiter: str) -> None:
    assert rows(write(tmp_path / "t.csv", delimiter), cache, delimiter=given) == ROWS
    assert "separated" not in caplog.text


def test_a_comma_in_the_header_of_a_table_with_semicolons(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text;label;number, of\na;x;1\nb;y;2\n", encoding="utf-8")
    assert rows(path, cache) == [("a", "x"), ("b", "y")]


def test_rows_with_other_numbers_of_columns_do_not_change_the_delimiter(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\na;b,x\nbroken\nc;d,y\n", encoding="utf-8")
    assert rows(path, cache, on_error="skip") == [("a;b", "x"), ("c;d", "y")]


def test_the_delimiter_is_a_part_of_the_key(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label|label,more\na,b|c,d\n", encoding="utf-8")
    options = {"text_columns": ("1",), "label_column": "2"}
    keys = {Table(*source_args(path, cache, delimiter=delimiter, **options)).key() for delimiter in (None, ",", "|")}
    assert len(keys) == 2


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
def test_invalid_delimiters(delimiter: str) -> None:
    with pytest.raises(UserError, match=r"delimiter is .*; give one character such as ; or \|, or the word tab"):
        DataOptions("t.csv", delimiter=delimiter)


def test_a_delimiter_for_what_has_none_is_refused(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n')
    with pytest.raises(UserError, match=r"t.jsonl is no CSV or TSV file; leave out --delimiter ;"):
        Table(*source_args(path, cache, delimiter=";"))


@pytest.mark.parametrize(
    ("first", "shown"), [("great film,pos", "'pos'"), ("great film,5", "'5'"), (f"{'so good ' * 9},label", "'so good so good")]
)
def test_a_header_that_looks_like_data_is_warned_of(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, first: str, shown: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(first + "\n" + "".join(f"text {i},{('pos', 'neg')[i % 2]}\n" for i in range(20)), encoding="utf-8")
    assert len(rows(path, cache)) == 20
    assert f"but {shown}" in caplog.text
    assert "looks like data; if there is no header, give columns by number, e.g. --text-columns 1 --label-column 2" in caplog.text


def test_an_ordinary_header_is_not_warned_of(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows(write(tmp_path / "t.csv", ","), cache)
    assert "looks like data" not in caplog.text
