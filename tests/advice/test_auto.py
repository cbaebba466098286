"""`train --method auto`, with real runs: the winner as an ordinary run, the only one that is scored on the test set."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup import UserError, cli, config
from studygroup.advice import advise as steps
from studygroup.advice import auto
from studygroup.options import TrainOptions
from studygroup.output import print_table
from studygroup.runs.contents import kind_of_folder
from studygroup.runs.member import Run
from studygroup.sweep import comparison
from tests.advice.conftest import SMALL
from tests.sweep.conftest import InProcess

TINY: dict[str, Any] = {**SMALL, "epochs": 1, "time_limit": "1h", "precision": "float32"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that an advice with one candidate, one seed and one rung has chosen."""
    folder = tmp_path_factory.mktemp("auto") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "choose_executor", lambda *_: InProcess())
        patch.setattr(steps, "LENGTH_SHARE", 0.0)
        patch.setattr(steps, "LONGEST", 1)
        patch.setattr(auto, "advise", lambda options: steps.advise(replace(options, seeds=1, candidates=("smoothing",))))
        studygroup.train("digits", method="auto", out=folder, cache=cache, **TINY)
    return folder


def test_the_winner_is_an_ordinary_run(out: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(out)
    advice = json.loads((out / "advice" / "advice.json").read_text())
    assert run.result["selected"]["test"] == advice["test"]["accuracy"]
    assert run.result["test_samples"] == advice["test"]["samples"] == 359
    options = config.load_group(run.files.config, TrainOptions)
    assert (options.out, options.score_test, options.method) == (str(out), True, "baseline")
    cli.main(["evaluate", str(out), "--cache", str(cache), "--format", "json"])
    assert json.loads(capsys.readouterr().out)["best"]["accuracy"] == run.result["selected"]["test"]


def test_the_command_line_shows_the_answer_before_the_run(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_table("train", Run(out), {})
    written = capsys.readouterr().out
    assert "train resnet8 alone" in written
    assert "What would change the answer" in written
    assert written.index("What would change the answer") < written.index("best on the test set") < written.index("advice:   ")


def test_only_the_winner_is_scored_on_the_test_set(out: Path) -> None:
    scored = {path.parent.name: json.loads(path.read_text())["test_samples"] for path in out.glob("advice/rung1/runs/*/result.json")}
    assert set(scored) == {"baseline-s0", "smoothing-s0"}
    advice = json.loads((out / "advice" / "advice.json").read_text())
    assert {name for name, samples in scored.items() if samples} == {Path(advice["run"]).name}
    assert advice["linear"]["holdout"] > 0.5
    assert (out / "advice" / "advice.png").stat().st_size > 10_000


def test_a_finished_one_is_kept(out: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="already holds a run; take another --out, continue it with --resume"):
        studygroup.train("digits", method="auto", out=out, cache=cache, **TINY)
    monkeypatch.setattr(auto, "advise", lambda _: pytest.fail("it is finished"))
    assert studygroup.train("digits", method="auto", out=out, cache=cache, resume=True, **TINY).result == Run(out).result


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 3}, "seed is 3, but method auto decides it"),
        ({"method_options": {"students": 3}}, "method_options is .*, but method auto decides it"),
        ({"devices": 2}, "method auto trains several runs side by side"),
        ({"peers": ["resnet14"]}, "peers is .*, but an advice trains its own"),
    ],
)
def test_what_an_advice_decides_is_refused(tmp_path: Path, cache: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        studygroup.train("digits", method="auto", out=tmp_path / "run", cache=cache, **{**TINY, **given})
    assert not (tmp_path / "run").exists()


def test_both_folders_have_a_mark(out: Path) -> None:
    assert (kind_of_folder(out), kind_of_folder(out / "advice")) == ("run", "advice")


def test_overwriting_needs_the_mark(out: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names alone do not make a run folder: `config.yaml` and `checkpoints` are those of other programs, too."""
    monkeypatch.setattr(auto, "advise", lambda _: pytest.fail("nothing is to be trained"))
    for name in ("config.yaml", "checkpoints/a.ckpt", "advice/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="is not empty and holds no run"):
        studygroup.train("digits", method="auto", out=tmp_path, cache=cache, overwrite=True, **TINY)
    assert sorted(tmp_path.rglob("*")) == before
    shutil.copytree(out, tmp_path / "run")
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"holds more than studygroup has written \(thesis.txt\), so nothing was deleted"):
        studygroup.train("digits", method="auto", out=tmp_path / "run", cache=cache, overwrite=True, **TINY)
    assert (tmp_path / "run" / "result.json").is_file()
    (tmp_path / "run" / "thesis.txt").unlink()
    monkeypatch.setattr(auto, "advise", lambda _: (_ for _ in ()).throw(UserError("too little time")))
    with pytest.raises(UserError, match="too little time"):
        studygroup.train("digits", method="auto", out=tmp_path / "run", cache=cache, overwrite=True, **TINY)
    assert not (tmp_path / "run").exists()  # deleted, and a second try finds the folder free


def test_a_folder_with_something_else_is_kept(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        studygroup.train("digits", method="auto", out=tmp_path, cache=cache, overwrite=True, **TINY)
