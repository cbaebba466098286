"""`studygroup report`, and the pages of several runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studygroup import api, cli
from studygroup.errors import UserError
from studygroup.pages import kind_of
from studygroup.pages.runs import runs_page
from tests.pages.folders import write_comparison, write_study
from tests.run_folders import MakeRun


def test_every_kind_of_folder_gets_its_report(tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run, comparison, study = make_run("run"), write_comparison(tmp_path / "compared", samples=50), write_study(tmp_path / "study")
    assert [kind_of(folder) for folder in (run, comparison, study)] == ["run", "comparison", "study"]
    assert cli.main(["report", str(run), str(comparison), str(study)]) == 0
    printed = capsys.readouterr().out
    assert "90.50" in printed, "the leaderboard of runs"
    assert "method-0" in printed, "that of the comparison"
    for folder in (run, comparison, study):
        assert (folder / "report.html").is_file()
        assert str(folder / "report.html") in printed
    rows = api.report([run, comparison, study])
    assert [row.get("kind") for row in rows] == [None, "comparison", "study"]
    assert [row["report"] for row in rows] == [[str(folder / "report.html")] for folder in (run, comparison, study)]


def test_the_report_of_one_folder_goes_where_it_is_asked_for(tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("run")
    assert cli.main(["report", str(run), "--out", str(tmp_path / "deep" / "out")]) == 0
    assert not (run / "report.html").exists()
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == [
        "curves.png",
        "leaderboard.csv",
        "leaderboard.md",
        "report.html",
    ]
    assert str(tmp_path / "deep" / "out" / "report.html") in capsys.readouterr().out


def test_several_runs_are_compared_in_a_page_that_links_to_theirs(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run("cgl-0"), make_run("cgl-1", seed=1, test=0.92), make_run("dml", method="dml"), make_run("begun", finished=False)]
    rows = api.report(runs, out=tmp_path / "joint")
    assert len(rows) == 3
    text = (tmp_path / "joint" / "report.html").read_text()
    assert 'href="../cgl-1/report.html"' in text
    page = runs_page(runs, tmp_path / "joint")
    assert page.title == "4 runs on digits"
    assert [row.cells[0].text for row in page.leaderboard.rows] == ["digits"] * 3
    assert len(page.curves[0].lines) == 3
    means = [line for line in page.curves[0].lines if line.series.startswith("cgl (resnet8)")]
    assert len(means[0].texts) == 5


def test_runs_without_curves(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("a", holdout=False), make_run("b", holdout=False, method="dml")]
    assert runs_page(runs, tmp_path).curves == []
    api.report(runs, out=tmp_path / "joint")
    assert "There are no curves" in (tmp_path / "joint" / "report.html").read_text()


def test_a_folder_of_nothing_is_an_error_that_says_what_to_give(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("inside")
    with pytest.raises(UserError, match=r"holds no run, comparison or study; did you mean .*inside\?"):
        api.report([tmp_path])
    with pytest.raises(UserError, match=r"there is no folder nowhere; give the folder of a run, a comparison or a study"):
        api.report(["nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no run, comparison or study; give the folder that"):
        api.report([tmp_path / "empty"])
    with pytest.raises(UserError, match=r"no run is given"):
        api.report([])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_to(make_run: MakeRun) -> None:
    run = make_run("run")
    run.chmod(0o500)
    with pytest.raises(UserError, match=r"cannot write .*; name one folder, and another one for its report by --out"):
        api.report([run])


def test_a_report_that_cannot_be_written_is_an_error_with_a_remedy(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("run")
    (run / "report.html").mkdir()
    (run / "report.html" / "mine").touch()
    with pytest.raises(UserError, match=r"cannot write .*; name one folder, and another one for its report by --out"):
        api.report([run])
