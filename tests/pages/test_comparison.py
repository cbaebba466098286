"""Comparison folder -> page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from studygroup.errors import UserError
from studygroup.pages import write_page
from studygroup.pages.comparison import comparison_page
from studygroup.reporting import comparison
from studygroup.runs.layout import RunFiles
from studygroup.runs.predictions import read_predictions
from tests.pages.folders import write_comparison


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("written") / "out", samples=100)


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "out"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_leaderboard_has_every_variant_with_its_interval(folder: Path) -> None:
    page, rows = comparison_page(folder), comparison(folder)["rows"]
    assert page.title == "resnet8 on digits: 4 methods against baseline"
    table = page.leaderboard
    assert len(table.rows) == len(rows) == 7, "with the linear model and the teacher"
    headers = [column.title for column in table.columns]
    for row, shown in zip(rows, table.rows, strict=True):
        cells = dict(zip(headers, shown.cells, strict=True))
        assert cells["method"].text.startswith(row["variant"])
        assert cells["test"].sort == row["test"]
        drawing = cells["against the baseline"].strip
        assert (drawing is None) == (row["difference"] is None)
        if drawing is not None:
            assert len(drawing.seeds) == len(row["difference_by_seed"])
            assert drawing.low is not None
            assert drawing.high is not None
            assert drawing.low <= drawing.mean <= drawing.high


def test_words_say_what_the_intervals_do_and_do_not_say(folder: Path) -> None:
    page, rows = comparison_page(folder), comparison(folder)["rows"]
    compared = [row for row in rows if row["role"] == ""]
    above = sum(row["difference_low"] > 0 for row in compared)
    below = sum(row["difference_high"] < 0 for row in compared)
    undecided = len(compared) - above - below
    assert page.sentence.endswith(f"Against baseline, by 95 % intervals: {above} better, {below} worse, {undecided} undecided.")
    words = " ".join(finding.text for finding in page.findings)
    assert "That is no proof of equality" in words
    assert "Of 4 intervals at 95 %, 0.2 are expected to miss 0 by chance alone" in words
    assert "the intervals cover other seeds, not other data" in words
    assert "1 run failed" in words
    edit(folder, split_by_seed=True)
    assert "the intervals cover other data of the same kind, too" in " ".join(f.text for f in comparison_page(folder).findings)


def test_one_seed_has_no_interval(folder: Path) -> None:
    edit(folder, seeds=[0])
    page = comparison_page(folder)
    assert page.sentence.endswith("an interval needs two seeds.")
    assert page.seeds is None


def test_failed_runs_are_listed_with_their_reason(folder: Path) -> None:
    page = comparison_page(folder)
    assert page.failed is not None
    assert [[cell.text for cell in row.cells] for row in page.failed.rows] == [["method-1-s1", "the loss is nan in epoch 3"]]
    edit(folder, failed={})
    assert comparison_page(folder).failed is None


def test_the_frontier_joins_what_nothing_cheaper_surpasses(folder: Path) -> None:
    page, rows = comparison_page(folder), comparison(folder)["rows"]
    training, prediction = page.frontiers
    networks = [row for row in rows if row["role"] != "linear"]
    assert len(training.points) == len(networks)
    assert len(prediction.points) == len(networks) + sum(row["ensemble_test"] is not None for row in networks)
    best, front = 0.0, 0
    for row in sorted(networks, key=lambda row: row["flops"]):
        if row["test"] > best:
            best, front = row["test"], front + 1
    assert len(training.rules) == 2 * (front - 1)
    assert [key.name for key in page.kinds].count("trained alone") == 1


def test_differences_by_seed(folder: Path) -> None:
    page, rows = comparison_page(folder), {row["variant"]: row for row in comparison(folder)["rows"]}
    assert page.seeds is not None
    found = {(page.seeds.rows[s.row].split(" ")[0], page.seeds.columns[s.column]): s for s in page.seeds.squares}
    assert found["method-0", "2"].text == f"{100 * rows['method-0']['difference_by_seed'][2]:+.1f}"
    assert ("method-1", "1") not in found, "it failed"
    assert found["method-0", "2"].css == ("on" if rows["method-0"]["difference_by_seed"][2] >= 0 else "off")


def test_agreement_is_that_of_the_predictions(folder: Path) -> None:
    page = comparison_page(folder)
    assert page.agreement is not None
    places = [next(i for i, name in enumerate(page.agreement.rows) if name.startswith(variant)) for variant in ("baseline", "method-1")]
    square = next(s for s in page.agreement.squares if [s.row, s.column] == places)
    shares = []
    for seed in (0, 2):
        one, other = (read_predictions(RunFiles(folder / "runs" / f"{v}-s{seed}").predictions).predicted for v in ("baseline", "method-1"))
        shares.append(sum(a != b for a, b in zip(one, other, strict=True)) / 100)
    assert square.text == f"{100 * sum(shares) / 2:.1f}"


def test_unreadable_predictions_are_said_and_the_others_compared(folder: Path) -> None:
    (folder / "runs" / "baseline-s0" / "predictions" / "test.csv").write_text("nothing")
    page = comparison_page(folder)
    assert len(page.problems) == 1
    assert "baseline-s0/predictions/test.csv is damaged" in page.problems[0]
    assert page.agreement is not None


def test_reports_of_runs_are_linked_where_there_are_some(folder: Path) -> None:
    write_page(folder / "runs" / "method-0-s0")
    links = {text: href for row in comparison_page(folder).leaderboard.rows for text, href in row.cells[-1].links if href}
    assert links == {"0": "runs/method-0-s0/report.html"}
    assert 'href="runs/method-0-s0/report.html"' in write_page(folder).read_text()


def test_a_comparison_without_scores_on_the_test_set(folder: Path) -> None:
    for path in folder.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        result["selected"]["test"], result["last"]["test"] = None, {}
        del result["linear"]
        path.write_text(json.dumps(result))
    page = comparison_page(folder)
    assert "test" not in [column.title for column in page.leaderboard.columns]
    assert page.frontiers == []
    assert page.facts[0].note.startswith("hold-out accuracy")
    assert "The test set is not scored" in page.sentence


def test_a_comparison_of_which_no_run_is_finished(folder: Path) -> None:
    for path in folder.glob("runs/*/result.json"):
        path.unlink()
    assert comparison_page(folder).sentence.endswith("No run is finished yet.")
    assert write_page(folder).stat().st_size > 10_000


def test_a_damaged_manifest_is_an_error_in_a_line(folder: Path) -> None:
    (folder / "comparison.json").write_text("{")
    with pytest.raises(UserError, match=r"comparison.json is damaged"):
        write_page(folder)


@pytest.mark.slow
def test_many_methods_and_seeds_stay_small(tmp_path: Path) -> None:
    assert write_page(write_comparison(tmp_path / "out", 26, 5, epochs=200, samples=1000)).stat().st_size < 2_000_000
