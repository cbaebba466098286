"""Study folder -> page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studygroup.errors import UserError
from studygroup.pages import write_page
from studygroup.pages.study import study_page
from tests.pages.folders import write_study


def test_verdicts_with_their_evidence(tmp_path: Path) -> None:
    page = study_page(write_study(tmp_path / "study"))
    assert [claim.verdict for claim in page.claims] == ["holds", "opposite", "undecided"]
    assert [fact.value for fact in page.facts[:3]] == ["1 of 3", "1", "1"]
    statements = page.claims[0].statements
    assert statements.title == "2 statements: 2 holds"
    assert [cell.text for cell in statements.rows[0].cells] == [
        "DML above Baseline",
        "",
        "+2.00 [+1.50, +2.50] points; paper +1.50",
        "holds",
    ]
    drawing = statements.rows[0].cells[1].strip
    assert drawing is not None
    assert drawing.paper is not None
    assert drawing.zero is not None
    assert drawing.zero < drawing.paper < drawing.mean
    assert "Of 3 claims: 1 holds, 1 opposite, 1 undecided." in page.sentence


def test_numbers_stand_beside_the_papers(tmp_path: Path) -> None:
    (table,) = study_page(write_study(tmp_path / "study")).tables
    assert [column.title for column in table.columns][:3] == ["", "2 students", "paper: CIFAR-100, resnet18"]
    assert [cell.text for cell in table.rows[1].cells][:3] == ["DML", "82.00 ± 0.30", "75.00 ± 0.10"]


def test_gains_are_paired_by_seed(tmp_path: Path) -> None:
    page = study_page(write_study(tmp_path / "study"))
    assert [table.title for table in page.gains] == [f"Gain over Baseline: {n} students" for n in (2, 4, 8)]
    assert [cell.text for cell in page.gains[0].rows[1].cells] == ["CGL", "", "+4.00 [+4.00, +4.00]", "+2.00"]


@pytest.mark.parametrize(("kind", "points"), [("lines", 18), ("bars", 6), ("scatter", 3)])
def test_figures_have_a_mark_for_every_number(tmp_path: Path, kind: str, points: int) -> None:
    page = study_page(write_study(tmp_path / "study", kind))
    (plot,) = page.plots
    assert page.gains == []
    assert len(plot.points) == points
    assert all(point.tip for point in plot.points)
    if kind == "bars":
        assert len(plot.bars) == 9
    if kind == "lines":
        assert [key.name for key in plot.legend] == [n for row in ("Baseline", "DML", "CGL") for n in (row, f"{row}, the paper's")]
        xs = [point.x for point in plot.points[:3]]
        assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2), "logarithmic"


def test_a_figure_of_another_kind_is_shown_as_it_is_drawn(tmp_path: Path) -> None:
    page = study_page(write_study(tmp_path / "study", "map"))
    assert (page.plots, page.gains) == ([], [])
    assert page.figure.startswith("data:image/svg+xml;base64,")


def test_a_large_figure_and_a_missing_one_are_left_out(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    (folder / "figure.svg").write_text("<svg>" + " " * 600_000 + "</svg>")
    assert study_page(folder).figure == ""
    (folder / "figure.svg").unlink()
    assert study_page(folder).figure == ""
    assert write_page(folder).is_file()


def test_a_study_without_results_and_damaged_ones_are_errors_in_a_line(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    path = folder / "study.json"
    content = json.loads(path.read_text())
    path.write_text("[]")
    with pytest.raises(UserError, match=r"study.json is damaged \(it is no JSON object\)"):
        write_page(folder)
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "claims"}))
    with pytest.raises(UserError, match=r"study.json is damaged \(it has no 'claims'\)"):
        write_page(folder)
    path.write_text(json.dumps(content | {"cells": [{"row": "x"}]}))
    with pytest.raises(UserError, match=r"study.json is damaged \(KeyError"):
        write_page(folder)
    path.unlink()
    (folder / "study.yaml").write_text("name: cgl-table2\n")
    with pytest.raises(UserError, match=r"has no results yet"):
        write_page(folder)
