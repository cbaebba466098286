"""Tables of texts: how they are read, and how errors are reported."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studygroup.data.source import Row
from studygroup.data.texts import files as text_file
from studygroup.data.texts.table import SUFFIXES, Table, is_table
from studygroup.errors import UserError
from tests.data.texts.helpers import read, rows, source_args

Opened = Callable[..., Table]

CSV = 'text,label\n"a ""good"" film,\nreally",pos\nbad,neg\n"",neg\n'
ROWS = [('a "good" film,\nreally', "pos"), ("bad", "neg"), ("", "neg")]


@pytest.fixture
def table(tmp_path: Path, cache: Path) -> Opened:
    """Write a table and open it: `table("t.csv", "text,label\\n...", label_column="label")`."""

    def make(name: str, content: str | bytes, **options: Any) -> Table:
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return Table(*source_args(path, cache, **options))

    return make


def read_and_skip(source: Table) -> tuple[list[Row], list[str]]:
    """The rows, and the unreadable ones that were skipped."""
    raw = source.read()
    return rows(raw), raw.unreadable


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.csv.gz"])
def test_csv(table: Opened, name: str) -> None:
    source = table(name, CSV)
    assert source.name == "t"
    assert source.read().classes is None
    assert read(source) == {"train": ROWS}
    assert read(source) == {"train": ROWS}, "it can be read twice"


def test_columns_and_labels_are_stripped(table: Opened) -> None:
    assert read(table("t.csv", "text, label\n a , x\nb,x \n", label_column="label"))["train"] == [(" a ", "x"), ("b", "x")]


def test_line_ends_of_all_systems(table: Opened) -> None:
    assert read(table("t.csv", CSV.replace("\n", "\r\n")))["train"] == [(text.replace("\n", "\r\n"), label) for text, label in ROWS]
    assert read(table("t.csv", "text,label\ra,x\r\r\nb,y"))["train"] == [("a", "x"), ("b", "y")]


def test_tsv(table: Opened) -> None:
    content = 'id\tstars\treview\n1\t5\t"a\tb"\n2\t1\tc, "d"\n'
    for name in ("t.tsv", "t.tab", "t.tsv.gz"):
        assert read(table(name, content))["train"] == [("a\tb", "5"), ('c, "d"', "1")]


def test_several_columns_are_joined_by_a_space(table: Opened) -> None:
    content = "title,text,label\nt,u,1\n,u,1\nt,,2\n,,2\n"
    found = read(table("t.csv", content, text_columns=("title", "text"), label_column="label"))["train"]
    assert found == [("t u", "1"), ("u", "1"), ("t", "2"), ("", "2")]
    assert read(table("t.csv", content, text_columns=("text", "title")))["train"][0] == ("u t", "1")


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.jsonl.gz"])
def test_json_lines(table: Opened, name: str) -> None:
    lines = [
        {"text": 'a "good" film,\nreally', "label": "pos", "more": [1]},
        {"label": 1, "text": ""},
        {"text": "x", "label": True},
        {"text": "ü", "label": 2.0},
    ]
    content = "\n\n".join(json.dumps(line) for line in lines)
    assert read(table(name, content))["train"] == [('a "good" film,\nreally', "pos"), ("", "1"), ("x", "true"), ("ü", "2")]


def test_unreadable_rows_of_json_lines(table: Opened) -> None:
    good = '{"text": "a", "label": "x"}'
    content = [
        good,
        "",
        '{"text": "b"}',
        '{"text": 3, "label": "x"}',
        '{"text": null, "label": "x"}',
        "[1]",
        "{",
        '{"text": "\\ud83d", "label": "x"}',
        '{"text": "a", "label": null}',
        '{"text": "a", "label": NaN}',
        '{"text": "a", "label": [1]}',
        '{"text": "a", "label": " "}',
        '{"text": "a", "label": "\\udc00"}',
        "[" * 100_000,
        good,
    ]
    found, names = read_and_skip(table("t.jsonl", "\n".join(content), on_error="skip"))
    assert found == [("a", "x")] * 2
    assert names == [
        "row 2 of t.jsonl (line 3: no 'label')",
        "row 3 of t.jsonl (line 4: column 'text' is 3, not a text)",
        "row 4 of t.jsonl (line 5: column 'text' is missing)",
        "row 5 of t.jsonl (line 6: no JSON object)",
        "row 6 of t.jsonl (line 7: no JSON)",
        "row 7 of t.jsonl (line 8: column 'text' has half of a surrogate pair, which is no character)",
        "row 8 of t.jsonl (line 9: no label)",
        "row 9 of t.jsonl (line 10: no label)",
        "row 10 of t.jsonl (line 11: the label is [1], not a name or number)",
        "row 11 of t.jsonl (line 12: no label)",
        "row 12 of t.jsonl (line 13: the label has half of a surrogate pair, which is no character)",
        "row 13 of t.jsonl (line 14: no JSON)",
    ]


def test_unreadable_rows_of_csv(table: Opened) -> None:
    content = 'text,label\ngood,x\n"two\nlines",y\nshort\na,b,c\n\nno label,\n"quote" in it,x\ngood, y \n"open,x\nuntil,the end\n'
    found, names = read_and_skip(table("t.csv", content, on_error="skip"))
    assert found == [("good", "x"), ("two\nlines", "y"), ("good", "y")]
    assert names == [
        "row 3 of t.csv (line 5: 1 column instead of 2)",
        "row 4 of t.csv (line 6: 3 columns instead of 2)",
        "row 5 of t.csv (line 8: no label)",
        "row 6 of t.csv (line 9: a quote within quotes that is not doubled)",
        "row 8 of t.csv (line 11: a quote that is not closed)",
    ]
    with pytest.raises(UserError, match=r"^row 3 of t.csv \(line 5: 1 column instead of 2\) cannot be read; .*--on-error skip"):
        read(table("t.csv", content))


def test_a_table_of_another_format_is_refused_even_if_rows_are_skipped(table: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MANY_UNREADABLE", 10)
    content = "text,label\n" + "good,x\n" * 30 + "short\n" * 100
    with pytest.raises(UserError, match=r"31 of the first 61 rows of t cannot be read, e.g. row 61 of t.csv .* another format"):
        read(table("t.csv", content, on_error="skip"))
    assert len(read_and_skip(table("t.csv", "text,label\n" + "good,x\nshort\n" * 100, on_error="skip"))[1]) == 100


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(table: Opened, encoding: str) -> None:
    content = "text,label\nüñ😀,x\nb,y\n"
    assert read(table("t.csv", content.encode(encoding)))["train"] == [("üñ😀", "x"), ("b", "y")]
    assert read(table("t.jsonl.gz", '{"text": "ü😀", "label": 1}'.encode(encoding)))["train"] == [("ü😀", "1")]
    assert read(table("t.csv", content.encode("utf-8-sig"), encoding="UTF8", text_columns=("text",)))["train"][0] == ("üñ😀", "x")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(table: Opened, encoding: str) -> None:
    content = "text,label\nüñ😀,x\nb,y\n".encode(encoding)
    assert read(table("t.csv", content))["train"] == [("üñ😀", "x"), ("b", "y")]
    with pytest.raises(UserError, match=r"line 1 of .*u.csv cannot be read as utf-16 \(.*\); give another --encoding, such as utf-16-le"):
        read(table("u.csv", "ü,label\nb,y\n".encode(encoding), encoding="utf-16"))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gb18030", "shift_jis", "utf-16-le"])
def test_other_encodings(table: Opened, encoding: str) -> None:
    text = "é" if encoding in ("latin-1", "cp1252") else "日本"
    content = f"text,label\n{text},x\nb,y\n".encode(encoding)
    assert read(table("t.csv", content, encoding=encoding))["train"] == [(text, "x"), ("b", "y")]


def test_bytes_that_cannot_be_decoded(table: Opened) -> None:
    content = b"note,text,label\n\xff,a,x\nn,caf\xe9,y\nn,b\xc3\xa9,y\nn,\xf0\x9f\x98,z\nn,t,\xe9\n"
    found, names = read_and_skip(table("t.csv", content, on_error="skip"))
    assert found == [("a", "x"), ("bé", "y")], "other columns may have invalid bytes"
    hint = "give another encoding by --encoding"
    assert names == [
        f"row 2 of t.csv (line 3: column 'text' has bytes that are not utf-8; {hint})",
        f"row 4 of t.csv (line 5: column 'text' has bytes that are not utf-8; {hint})",
        f"row 5 of t.csv (line 6: the label has bytes that are not utf-8; {hint})",
    ]
    with pytest.raises(UserError, match=r"row 2 of t.csv \(line 3: .*not utf-8"):
        read(table("t.csv", content))
    names = read_and_skip(table("t.jsonl", b'{"text": "a", "label": 1}\n{"text": "\xff", "label": 1}', on_error="skip"))[1]
    assert names == [f"row 2 of t.jsonl (line 2: bytes that are not utf-8; {hint})"]
    names = read_and_skip(table("t.csv", "text,label\na,x\nb,y".encode("utf-16") + b"\0\xd8", on_error="skip"))[1]
    assert names == [f"row 2 of t.csv (line 3: the label has bytes that are not utf-16; {hint})"]


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "", "undefined", "a\0b", "idna", "punycode", "unicode_escape"])
def test_unknown_encodings(table: Opened, encoding: str) -> None:
    with pytest.raises(UserError, match=r"unknown encoding .*give one like utf-8|which holds a zero byte; leave it out"):
        table("t.csv", CSV, encoding=encoding)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_texts_of_any_length_and_script(table: Opened, name: str) -> None:
    texts = ["", "x", "длинный " * 125_000, "日本語", "مرحبا", "👩‍👩‍👧", "\0", "a\u2028b\x0b\x0c\x1c\x85c", "﷽" * 1000, " "]
    if name == "t.csv":
        content = "text,label\n" + "".join(f'"{text}",{i % 2}\n' for i, text in enumerate(texts))
    else:
        content = "".join(json.dumps({"text": text, "label": i % 2}, ensure_ascii=bool(i % 3)) + "\n" for i, text in enumerate(texts))
    assert read(table(name, content))["train"] == [(text, str(i % 2)) for i, text in enumerate(texts)]


def test_too_long_lines_are_refused(table: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MAX_TEXT", 1000)
    assert read(table("t.csv", f"text,label\n{'x' * 990},y\n"))["train"]
    with pytest.raises(UserError, match=r"line 2 of .*t.csv has more than 1000 characters"):
        read(table("t.csv", f"text,label\n{'x' * 999},y\n"))
    monkeypatch.undo()


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(table: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MAX_TEXT", 1000)
    before = csv.field_size_limit(500)
    try:
        with pytest.raises(UserError, match=r"row 1 of t.csv \(line 2: more than 1000 characters, or a quote that is not closed"):
            read(table("t.csv", 'text,label\n"open,x\n' + "good,x\n" * 1000))
        assert csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(before)


def test_a_table_without_header(table: Opened, caplog: pytest.LogCaptureFixture) -> None:
    content = '1,"good, really"\n2,bad\n'
    assert read(table("t.csv", content, text_columns=("2",), label_column="1"))["train"] == [("good, really", "1"), ("bad", "2")]
    assert not caplog.records
    assert read(table("t.csv", content, label_column="1"))["train"] == [("good, really", "1"), ("bad", "2")]
    assert "'2' is taken for the text" in caplog.text
    with pytest.raises(UserError, match=r"t.csv has no column '3'; it has '1', '2'$"):
        table("t.csv", content, text_columns=("3",), label_column="1").key()
    with pytest.raises(UserError, match=r"no column 'text'.*give columns by number .--text-columns 2 --label-column 1"):
        table("t.csv", content, text_columns=("text",), label_column="label").key()
    with pytest.raises(UserError, match=r"first row of .*t.csv is a header; give columns by its names \(text, label\)"):
        table("t.csv", CSV, text_columns=("1",), label_column="2").key()


def test_missing_and_ambiguous_columns(table: Opened) -> None:
    with pytest.raises(UserError, match=r"t.csv has no column 'txt'; it has 'text', 'label'"):
        table("t.csv", CSV, text_columns=("txt",)).key()
    with pytest.raises(UserError, match=r"t.jsonl has no column 'txt'; it has 'text', 'label'$"):
        table("t.jsonl", '{"text": "a", "label": 1}', text_columns=("txt",)).key()
    with pytest.raises(UserError, match="may hold the texts: 'title', 'body'"):
        table("t.csv", "title,body,label\na,b,c\n").key()
    with pytest.raises(UserError, match="may hold the texts: 'title', 'body'"):
        table("t.jsonl", '{"title": "a", "label": 1}\n{"body": "a", "label": 1}').key()
    with pytest.raises(UserError, match=r"has a single column, 'text:label'; separate texts and labels by commas, .*--delimiter"):
        table("t.csv", "text:label\na:b\n").key()
    with pytest.raises(UserError, match=r"single column.*by tabs"):
        table("t.tsv", "text:label\na:b\n").key()


def test_two_columns_of_unusual_names(table: Opened, caplog: pytest.LogCaptureFixture) -> None:
    expected = [(f"some text {i}", "ab"[i % 2]) for i in range(40)]
    assert read(table("t.csv", "x,y\n" + "".join(f"{a},{b}\n" for a, b in expected)))["train"] == expected
    assert read(table("t.jsonl", "\n".join(json.dumps({"y": b, "x": a}) for a, b in expected)))["train"] == expected
    assert caplog.text.count("'x' is taken for the text, 'y' for the label") == 2


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.csv.gz"])
def test_empty_tables(table: Opened, name: str) -> None:
    with pytest.raises(UserError, match=r"no first row|no JSON objects"):
        table(name, "").key()
    with pytest.raises(UserError, match=r"no first row|no JSON objects"):
        table(name, "\n\n").key()


def test_a_table_with_a_header_only_has_no_rows(table: Opened) -> None:
    assert read(table("t.csv", "text,label\n"))["train"] == []


def test_damaged_gzip(tmp_path: Path, cache: Path) -> None:
    content = gzip.compress(("text,label\n" + "".join(f"{i * i * 7919},x\n" for i in range(30_000))).encode())
    for name, damaged in (("t.csv.gz", content[: len(content) // 2]), ("u.csv.gz", content[:-8] + bytes(8)), ("v.csv.gz", b"text,label\n")):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UserError, match=f"{name} is damaged or cut off .*; get it again"):
            read(Table(*source_args(tmp_path / name, cache)))


def test_a_table_that_cannot_be_read(table: Opened, tmp_path: Path, cache: Path) -> None:
    source = table("t.csv", CSV)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(UserError, match=r"t.csv cannot be read: No such file"):
        source.key()
    with pytest.raises(UserError, match=r"t.csv does not exist; give a table"):
        Table(*source_args(tmp_path / "t.csv", cache))
    (tmp_path / "t.doc").write_text(CSV)
    with pytest.raises(UserError, match=r"t.doc is no table by its name; known: \.csv"):
        Table(*source_args(tmp_path / "t.doc", cache))
    with pytest.raises(UserError, match="None does not exist"):
        Table(*source_args(None, cache))


def test_key_depends_on_what_the_rows_depend_on(table: Opened, caplog: pytest.LogCaptureFixture) -> None:
    content = "title,text,label\na,b,x\n"
    options: dict[str, Any] = {"text_columns": ("text",), "label_column": "label"}
    key = table("t.csv", content, **options).key()
    assert table("other.csv", content, **options).key() == key, "not on its path"
    assert table("t.csv", content, on_error="skip", **options).key() == key, "unreadable rows are not among the rows"
    others = [
        table("t.csv", content + "a,b,y\n", **options).key(),
        table("t.tsv", content.replace(",", "\t"), **options).key(),
        table("t.csv", content, text_columns=("title",), label_column="label").key(),
        table("t.csv", content, text_columns=("title", "text"), label_column="label").key(),
        table("t.csv", content, text_columns=("text", "title"), label_column="label").key(),
        table("t.csv", content, text_columns=("text",), label_column="title").key(),
        table("t.csv", content, encoding="latin-1", **options).key(),
    ]
    assert len({key, *others}) == 1 + len(others)
    found = table("t.csv", "text,label\na,x\n")
    assert found.key() == table("t.csv", "text,label\na,x\n", **options).key(), "it does not matter whether the columns were given"


def test_a_folder_of_tables(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\na,x\nb,y\n")
    options: dict[str, Any] = {"text_columns": ("text",), "label_column": "label"}
    alone = Table(*source_args(folder, cache, **options))
    assert read(alone) == {"train": [("a", "x"), ("b", "y")]}
    (folder / "Valid.csv").write_text("label,text\ny,c\n")
    source = Table(*source_args(folder, cache, **options))
    assert source.name == "reviews"
    assert read(source) == {"train": [("a", "x"), ("b", "y")], "val": [("c", "y")]}
    assert source.key() != alone.key()
    assert not caplog.records
    (folder / "test.jsonl").write_text('{"text": "d", "label": "x"}')
    assert read(Table(*source_args(folder, cache, **options))) == {
        "train": [("a", "x"), ("b", "y")],
        "val": [("c", "y")],
        "test": [("d", "x")],
    }
    assert not caplog.records
    (folder / "validation.csv").write_text("label,text\ny,e\n")
    assert read(Table(*source_args(folder, cache, **options)))["val"] == [("c", "y")]
    assert "beside train.csv and Valid.csv and test.jsonl: validation.csv" in caplog.text
    (folder / "test.jsonl").write_text('{"txt": "d", "label": "x"}')
    with pytest.raises(UserError, match=r"test.jsonl has no column 'text', but train.csv has"):
        Table(*source_args(folder, cache, **options)).key()
    (folder / "test.csv").write_text("text,label\n")
    with pytest.raises(UserError, match=r"has both test.csv and test.jsonl; remove or rename"):
        Table(*source_args(folder, cache))
    (folder / "train.csv").rename(folder / "other.csv")
    with pytest.raises(UserError, match=r"has no table for training; call it e.g. train.csv"):
        Table(*source_args(folder, cache))


def test_tables_are_recognised(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"t{suffix}").touch()
        assert is_table(tmp_path / f"t{suffix}")
        assert not is_table(tmp_path / f"gone{suffix}")
    for name in ("t.txt", "t.json", ".csv", "csv", "t.gz", "t.parquet.gz"):
        (tmp_path / name).touch()
        assert not is_table(tmp_path / name)
    assert not is_table(tmp_path)
    (tmp_path / "TRAIN.tsv").touch()
    assert is_table(tmp_path)
    (tmp_path / ".git").mkdir()
    assert is_table(tmp_path)
    (tmp_path / "train").mkdir()
    assert not is_table(tmp_path), "of images, say"


def test_memory_is_that_of_few_rows(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "long.csv"
    count, words = 8_000, "some words more, to fill a line " * 40
    with path.open("w") as file:
        file.write("text,label\n")
        file.writelines(f'"number {i}: {words}",{i % 2}\n' for i in range(count))
    assert path.stat().st_size > 9_000_000
    source = Table(*source_args(path, cache))
    tracemalloc.start()
    try:
        source.key()
        [split] = source.read().splits.values()
        assert split.meter is not None
        seen, number, last = 0, 0, ""
        for text, _ in split.items:
            assert seen <= split.meter.count <= split.size, "the meter counts bytes"
            seen, number, last = split.meter.count, number + 1, text
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number == count
    assert last.startswith(f"number {count - 1}:")
    assert peak < 2_000_000
