"""The files of a report. Curves are checked by their numbers, not by pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from studygroup.errors import UserError
from studygroup.reporting import FILES, curves, leaderboard, write
from studygroup.reporting.metrics_plot import draw_metrics, metric_of, subjects
from studygroup.runs.reader import RunRecord, read_runs, values
from tests.run_folders import MakeRun


def test_a_report_is_written(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"s{seed}", seed=seed) for seed in (0, 1)] + [make_run("kd", method="kd", students=1, finished=False)]
    write(leaderboard(runs), runs, tmp_path / "deep" / "report")
    assert sorted(path.name for path in (tmp_path / "deep" / "report").iterdir()) == sorted({*FILES} - {"metrics.png"}), (
        "they have no metrics"
    )
    with Image.open(tmp_path / "deep" / "report" / "curves.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50


def test_curves_of_runs_without_a_hold_out_and_of_a_single_epoch(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("a", holdout=False), make_run("b", method="dml", epochs=1), make_run("c", method="kd", epochs=1, finished=False)]
    curves.draw(runs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_many_groups(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"{k}", epochs=2, options={"students": k}) for k in range(1, 10)]
    curves.draw(runs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_a_curve_is_mean_and_sample_deviation_over_the_common_epochs(make_run: MakeRun) -> None:
    def accuracy(_: RunRecord, epoch: curves.Epoch) -> float | None:
        return values(epoch, "holdout").get("student0")

    records = read_runs([make_run("a", seed=0, epochs=4), make_run("b", seed=1, epochs=6)])
    epochs, means, spreads = curves.mean_curve(records, accuracy)
    assert epochs == [1, 2, 3, 4]
    for place, epoch in enumerate(epochs):
        first, second = (accuracy(record, record.epochs[epoch - 1]) for record in records)
        assert first is not None
        assert second is not None
        assert means[place] == pytest.approx((first + second) / 2)
        assert spreads[place] == pytest.approx(abs(first - second) / 2**0.5)


def with_metrics(folder: Path, metrics: dict[str, float]) -> Path:
    """Add metrics to every epoch of a run, multiplied by its number."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {"steps": 10, "metrics": {name: value * line["epoch"] for name, value in metrics.items()}}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_metrics_are_drawn_of_those_that_have_them(make_run: MakeRun, tmp_path: Path) -> None:
    metrics = {"student1/promoted": 0.1, "student0/promoted": 0.05, "pivot/error": 0.2, "alone": 1.0, "<b>$x_1$/odd": 0.3}
    runs = [with_metrics(make_run(f"orc{seed}", method="orc", seed=seed), metrics) for seed in (0, 1)]
    runs += [with_metrics(make_run("one-epoch", method="orc", epochs=1), {"pivot/error": 0.1}), make_run("plain")]
    write(leaderboard(runs), runs, tmp_path / "report")
    with Image.open(tmp_path / "report" / "metrics.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50
    records = read_runs(runs)
    assert subjects(records) == {"promoted": ["student0", "student1"], "alone": [""], "error": ["pivot"], "odd": ["<b>$x_1$"]}
    assert subjects(records[3:]) == {}
    assert metric_of("pivot/error", records[0], records[0].epochs[2]) == pytest.approx(0.6)
    assert metric_of("pivot/other", records[0], records[0].epochs[2]) is None


def test_runs_without_metrics_have_no_such_picture(make_run: MakeRun, tmp_path: Path) -> None:
    """Finished, of an earlier version; and begun, without an epoch."""
    assert not draw_metrics([make_run("a"), make_run("b", epochs=1, finished=False)], tmp_path / "metrics.png")
    assert not (tmp_path / "metrics.png").exists()


def test_more_groups_than_rows(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [with_metrics(make_run(f"{k}", epochs=2, options={"students": k}), {"a/b": 1.0}) for k in range(1, 15)]
    assert draw_metrics(runs, tmp_path / "metrics.png")
    with Image.open(tmp_path / "metrics.png") as picture:
        assert picture.height < 6000


def test_a_report_into_a_place_that_cannot_be_written(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*file/below: Not a directory; take another --out"):
        write(leaderboard([make_run("a")]), [tmp_path / "a"], tmp_path / "file" / "below")


def test_a_report_is_not_written_to_a_file(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("a")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file; give a folder"):
        write(leaderboard([run]), [run], tmp_path / "file")
