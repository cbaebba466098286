"""The leaderboard in the terminal, in Markdown and CSV, and the table of one run."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console
from rich.table import Table

from studygroup.errors import UserError
from studygroup.reporting import leaderboard, render_terminal, show_run
from studygroup.reporting.tables import CAPTION, render_csv, render_markdown
from tests.run_folders import MakeRun


def drawn(table: Table, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


@pytest.fixture
def rows(make_run: MakeRun) -> list[dict[str, object]]:
    finished = [
        make_run(f"{method}{seed}", method=method, seed=seed, test=0.9 + 0.01 * seed) for method in ("cgl", "dml") for seed in (0, 1)
    ]
    return leaderboard([*finished, make_run("kd", method="kd", finished=False, epochs=8)])


def test_the_terminal_shows_all(rows: list[dict[str, object]]) -> None:
    text = drawn(render_terminal(rows))
    assert text.splitlines()[0].strip() == "digits · resnet8"
    for expected in ("cgl", "dml", "kd, unfinished (4/8)", "91.00 ± 0.71", "88.50 ± 0.71", "89.50 ± 0.71", "78,042", "10 s", "0.200"):
        assert expected in text
    assert "A wider terminal" not in text


def test_a_narrow_terminal_loses_columns_not_digits(rows: list[dict[str, object]]) -> None:
    text = drawn(render_terminal(rows, 80), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "91.00 ± 0.71" in text
    assert "…" not in text
    assert "diversity" in " ".join(text.split()).partition("A wider terminal")[2]


def test_names_that_look_like_markup_are_shown_as_they_are(rows: list[dict[str, object]]) -> None:
    assert "[bold]" in drawn(render_terminal([{**row, "method": "[bold]"} for row in rows]))


def test_markdown(rows: list[dict[str, object]]) -> None:
    lines = render_markdown([{**row, "settings": "a|b"} for row in rows]).splitlines()
    assert lines[0] == "**digits · resnet8**"
    assert lines[2].startswith("| method | settings | seeds | test |")
    assert lines[4].startswith("| cgl | a\\|b | 2 | 91.00 ± 0.71 |")
    assert len({line.replace("\\|", "").count("|") for line in lines[2:7]}) == 1
    assert CAPTION in lines


def test_csv_has_every_row_in_full(rows: list[dict[str, object]]) -> None:
    read = list(csv.DictReader(io.StringIO(render_csv(rows))))
    assert [row["method"] for row in read] == ["cgl", "dml", "kd"]
    assert set(read[0]) == set(rows[0])
    assert float(read[0]["test"]) == pytest.approx(0.91)
    assert float(read[0]["test_std"]) == pytest.approx(0.0070711, rel=1e-4)
    assert read[0]["seeds"] == "0;1"
    assert read[0]["parameters"] == "78042"
    assert read[2]["test"] == ""


def test_no_rows_make_an_empty_table() -> None:
    assert render_csv([]) == "\n"
    assert "method" in render_markdown([])
    assert "method" in drawn(render_terminal([], 80))


def test_the_members_of_a_run(make_run: MakeRun) -> None:
    lines = drawn(show_run(make_run("a", test=0.9, students=3))).splitlines()
    assert "digits · cgl · resnet8" in lines[0]
    members = [line.split() for line in lines[4:] if line.strip()]
    assert members[0] == ["student2", "5", "89.00", "86.00", "78,042"]  # the best on the hold-out at the last epoch
    assert [member[0] for member in members] == ["student2", "student1", "student0", "pivot", "ensemble", "best"]
    assert members[-1] == ["best", "(student0)", "5", "92.00", "90.50", "78,042"]


def test_an_unfinished_run_has_no_table_of_members(make_run: MakeRun) -> None:
    with pytest.raises(UserError, match="not finished; continue it with --resume"):
        show_run(make_run("a", finished=False))
