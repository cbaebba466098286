"""Printed results of the commands, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from studygroup import cli
from tests.fake_api import error_of, fake


def test_benchmark_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "resnet8 [alone]", "seconds_per_step": 0.0123, "seconds_per_epoch": 1.5, "parameters": 77754, "ratio": 1.0}
    rows = [
        row | {"ratio_quartiles": [1.0, 1.0], "memory": 3 * 2**20},
        row | {"name": "cgl, 8 students", "seconds_per_epoch": 90.0, "ratio": 1.614, "ratio_quartiles": [1.5, 1.7], "memory": None},
    ]
    facts = {"data": "digits", "training_samples": 1294, "batch_size": 64, "epochs": 100, "device": "cpu", "precision": "bf16"}
    machine = {"processor": "A processor", "threads": 2, "gpu": None}
    left_out = {"cgl, 32 students": "too many [of them]"}
    result = {"rows": rows, "left_out": left_out, "machine": machine, "steps": 10, "repeats": 7, **facts}
    calls = fake(monkeypatch, "benchmark", result)
    assert cli.main(["benchmark", "digits"]) == 0
    table = capsys.readouterr().out
    for expected in (
        "resnet8 [alone]",
        "12.3 ms",
        "1.5 s",
        "2.5 min",  # 100 epochs
        "2.5 h",
        "1.61 x",
        "1.50 – 1.70",
        "77,754",
        "3.0 MiB",
        "100 epochs",
        "1,294 training samples, 64 per step; A processor, 2 threads, bf16",
        "7 repetitions of 10 steps",
        "left out: cgl, 32 students: too many [of them]",
    ):
        assert expected in table
    assert calls == [(("digits",), {})]


def test_predictions_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"path": "a,b [1].png", "label": "cat", "probability": 0.9, "top": [["cat", 0.9], ["dog", 0.1]]}]
    calls = fake(monkeypatch, "predict", rows)
    assert cli.main(["predict", "runs/x", "a,b [1].png", "photos", "--top", "2"]) == 0
    table = capsys.readouterr().out
    assert "a,b [1].png" in table
    assert "90.00%" in table
    assert "dog 10.00%" in table
    assert calls == [(("runs/x", ("a,b [1].png", "photos")), {"top": 2})]
    assert cli.main(["predict", "runs/x", "a.png", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows


@pytest.mark.parametrize("style", ["jsonl", "csv"])
def test_predictions_are_printed_as_they_come(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], style: str
) -> None:
    printed: list[bytes] = []

    def rows() -> Iterator[dict[str, object]]:
        yield {"text": 'fish, "salt"\nsea', "label": "sea", "probability": 0.9, "top": [("sea", 0.9)]}
        printed.append(capsysbinary.readouterr().out)  # before the second row is computed
        yield {"text": "\u0434\u0435 \udcff", "label": "wood", "probability": 0.75, "top": [("wood", 0.75)]}

    calls = fake(monkeypatch, "stream_predictions", rows())
    assert cli.main(["predict", "runs/x", "-", "--format", style, "--on-error", "skip"]) == 0
    printed.append(capsysbinary.readouterr().out)
    assert calls == [(("runs/x", ("-",)), {"on_error": "skip"})]
    if style == "csv":
        assert printed[0] == b'text,label,probability\n"fish, ""salt""\nsea",sea,0.900000\n'
        assert printed[1] == "\u0434\u0435 \udcff,wood,0.750000\n".encode("utf-8", "surrogateescape")
    else:
        assert json.loads(printed[0]) == {"text": 'fish, "salt"\nsea', "label": "sea", "probability": 0.9, "top": [["sea", 0.9]]}
        assert printed[1].startswith('{"text": "\u0434\u0435 \\udcff", "label": "wood"'.encode())
        assert all(line.count(b"\n") == 1 for line in printed)


def test_csv_has_one_class_per_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, "stream_predictions", iter(()))
    message = error_of(capsys, "predict", "runs/x", "a.png", "--format", "csv", "--top", "2", code=1)
    assert "top is 2, but --format csv has the most probable class only; take --format jsonl, or leave out --top" in message
    for words in (["evaluate", "runs/x"], ["list"]):
        assert "invalid choice: 'csv'" in error_of(capsys, *words, "--format", "csv")


def test_evaluation_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    by_class = {"precision": [0.5, None], "recall": [1.0, 0.0], "f1": [2 / 3, 0.0], "support": [1000, 1000]}
    scores = {"negative_log_likelihood": 0.7, "calibration_error": 0.25, "top5": None}
    confusions = {"classes": ["[b]x", "y"], "confusions": [[0, 0, 1000], [1, 0, 1000]]}
    result = {"best": {"accuracy": 0.5, "cross_entropy": float("nan"), "samples": 2000, **scores, **by_class, **confusions}}
    fake(monkeypatch, "evaluate", result)
    assert cli.main(["evaluate", "runs/x", "--members", "all"]) == 0
    table = capsys.readouterr().out
    assert "50.00%" in table
    assert "2,000" in table
    assert "25.00%" in table
    assert ["[b]x", "0.500", "1.000", "0.667", "1,000"] in [line.split() for line in table.splitlines()]
    assert ["[b]x", "1000", "·"] in [line.split() for line in table.splitlines()], "the confusion matrix"
    assert cli.main(["evaluate", "runs/x", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"best": {**result["best"], "cross_entropy": None}}


def test_names_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"methods": {"cgl": "a group [sic]"}, "networks": {"resnet8": "small"}}
    calls = fake(monkeypatch, "list_names", names)
    assert cli.main(["list"]) == 0
    table = capsys.readouterr().out
    assert "a group [sic]" in table
    assert "resnet8" in table
    assert cli.main(["list", "methods", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == names
    assert calls == [((), {}), (("methods",), {})]


def test_report_prints_the_leaderboard_and_its_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = {"data": "digits", "method": "cgl", "student": "resnet8", "finished": True, "seeds": [0], "test": 0.9, "epochs": 3}
    calls = fake(monkeypatch, "report", [row])
    (tmp_path / "curves.png").touch()
    assert cli.main(["report", "runs/a", "runs/b", "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "90.00" in table
    assert str(tmp_path / "curves.png") in table
    assert "metrics.png" not in table, "there is none"
    assert calls == [((("runs/a", "runs/b"),), {"out": str(tmp_path)})]
    assert cli.main(["report", "runs/a", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row]


def test_train_prints_the_members_and_the_path_of_the_student(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    last = {
        "epoch": 4,
        "member": "student0",
        "holdout": {"student0": 0.9},
        "test": {"student0": 0.8, "ensemble": 0.85},
        "diversity": 0.1,
    }
    selected = {"member": "student0", "epoch": 2, "holdout": 0.95, "test": 0.81}
    origin = {"method": "baseline", "data": "digits", "student": "resnet8"}
    (folder / "result.json").write_text(json.dumps({**origin, "selected": selected, "last": last, "parameters": {"student0": 78042}}))
    fake(monkeypatch, "train", SimpleNamespace(folder=folder))
    assert cli.main(["train", "digits"]) == 0
    written = capsys.readouterr().out
    for expected in (
        "best (student0)",
        "81.00",
        "85.00",
        "78,042",
        f"{folder}/members/best.safetensors",
        f"studygroup predict '{folder}' IMAGE",
    ):
        assert expected in written
