"""Names that others wrote, in what is printed and in files for people: they control no terminal, spreadsheet or page."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from studygroup import UserError, cli, output
from studygroup.escape import csv_cell, markdown_cell, visible, visible_json
from studygroup.reporting import tables
from studygroup.runs.predict_data import write_predictions_to
from studygroup.terminal import safe_console

HOSTILE = "\x1b[31m=red\x9b2J\u202egnp|<b>"
SEEN = "?[31m=red?2J?gnp|<b>"


def prediction(label: str) -> dict[str, Any]:
    return {"path": f"{label}.png", "label": label, "probability": 0.75, "top": [(label, 0.75), (label, 0.25)]}


def test_control_characters_are_made_visible() -> None:
    assert visible(HOSTILE) == SEEN
    assert visible("a\tb\nc é 日本 👩‍🚀 می‌خواهم") == "a\tb\nc é 日本 👩‍🚀 می‌خواهم", "joiners belong to words"
    assert visible("\x00\r\x7f\x85\u2028\u2066\udcff") == "???????"
    assert json.loads(visible_json(json.dumps({HOSTILE: "\udcff"}, ensure_ascii=False))) == {HOSTILE: "\udcff"}
    assert visible_json(json.dumps(HOSTILE, ensure_ascii=False)).isprintable()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_console_keeps_its_own_colours_only(is_terminal: bool) -> None:
    written = io.StringIO()
    console = safe_console(
        highlight=False, file=written, force_terminal=is_terminal, width=80, color_system="standard" if is_terminal else None
    )
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    console.print(HOSTILE, markup=False, soft_wrap=True)
    console.print("[red]styled[/red]")
    text = written.getvalue()
    assert text.count(SEEN) == 4
    assert ("\x1b[31mstyled\x1b[0m" in text) == is_terminal
    assert "\x9b" not in text
    assert "\x1b[31m=" not in text


def test_errors_notes_and_log_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def predict(*_: object, **__: object) -> Iterator[dict[str, Any]]:
        logging.getLogger("studygroup").info("about %s", HOSTILE)
        raise UserError(f"wrong {HOSTILE}")

    monkeypatch.setattr("studygroup.api.predict", predict)
    assert cli.main(["predict", "run", "x", "--traceback"]) == 1
    printed = capsys.readouterr().err
    assert f"about {SEEN}" in printed
    assert f"studygroup: error: wrong {SEEN}" in printed
    assert "\x1b" not in printed
    assert "\x9b" not in printed


@pytest.mark.parametrize("style", ["table", "json", "jsonl"])
def test_predictions(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows: Any = [prediction(HOSTILE)]
    output.print_result(style, "predict", iter(rows) if style == "jsonl" else rows, {})
    printed = capsys.readouterr().out
    assert "".join(printed.split("\n")).isprintable()
    if style != "table":
        found = json.loads(printed)
        assert (found[0] if style == "json" else found)["label"] == HOSTILE, "JSON says it exactly"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_predictions_as_csv(is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    output.print_result("csv", "predict", iter([prediction(HOSTILE), prediction("=cmd|x"), prediction("-5")]), {})
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert [row[1] for row in rows] == ["label", SEEN if is_terminal else HOSTILE, "'=cmd|x", "-5"]
    assert [row[0] for row in rows][2:] == ["'=cmd|x.png", "'-5.png"]


def test_a_file_of_predictions(tmp_path: Path) -> None:
    rows = [{**prediction("@x"), "true": "+y"}, {**prediction("cat"), "true": "cat"}]
    summary = write_predictions_to(tmp_path / "p.csv", rows, ["@x", "+y", "cat"])
    assert summary["accuracy"] == 0.5
    assert (tmp_path / "p.csv").read_text().splitlines()[1:] == ["'@x.png,'+y,'@x,0.750000", "cat.png,cat,cat,0.750000"]


def test_markdown() -> None:
    assert markdown_cell("a|b <img src=x> [x](y) `c` *d* _e_ cl_ilr") == r"a\|b &lt;img src=x&gt; \[x\](y) \`c\` \*d\* \_e\_ cl_ilr"
    lines = tables.markdown([("method", ["cl_ilr", "<b>|x"]), ("test", ["1", "[2, 3]"])], {"test"})
    assert lines[2:] == ["| cl_ilr | 1 |", r"| &lt;b&gt;\|x | [2, 3] |"]
    assert "**&lt;i&gt;" in tables.render_markdown([{"data": "<i>", "method": "a", "test": 0.5}])


def test_spreadsheets() -> None:
    assert [csv_cell(text) for text in ("=1+1", "+5", "-x", "@a", " =b", "-3.5e2", "a=b")] == [
        "'=1+1",
        "+5",
        "'-x",
        "'@a",
        "' =b",
        "-3.5e2",
        "a=b",
    ]
    assert tables.render_csv([{"method": "=x", "test": -0.5}]) == "method,test\n'=x,-0.5\n"
