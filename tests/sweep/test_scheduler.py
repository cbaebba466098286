"""The order of runs, what a stop leaves, and how progress is told, with runs that are made up."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studygroup.sweep.budget import affordable, with_epochs
from studygroup.sweep.job import Job
from studygroup.sweep.progress import SweepProgress
from studygroup.sweep.scheduler import run_jobs


class Stop:
    asked = False


class MadeUp:
    """Ends one task at each wait, the one that was begun first."""

    description = "nowhere"

    def __init__(self, slots: int, jobs: list[Job], outcomes: dict[str, dict[str, str]] | None = None) -> None:
        self.slots = slots
        self.jobs = {job.name: job for job in jobs}
        self.outcomes = outcomes or {}
        self.running: list[str] = []
        self.log: list[str] = []
        self.stopped = False
        self.after: Callable[[], object] = lambda: None

    def start(self, name: str, task: Any) -> None:
        self.running.append(name)
        assert len(self.running) <= self.slots
        self.log.append(f"+{name}")

    def wait(self, seconds: float) -> dict[str, dict[str, str]]:
        assert self.running
        name = self.running.pop(0)
        self.log.append(f"-{name}")
        asked = {"stopped": "saved"} if len(self.log) % 2 else {"error": "interrupted while it began"}
        outcome = asked if self.stopped else self.outcomes.get(name, {})
        if not outcome:
            finish(self.jobs[name])
        self.after()
        return {name: outcome}

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        pass


def finish(job: Job) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text(json.dumps({"selected": {"holdout": 0.5, "test": 0.987}, "seconds": 7.0}))


def job(tmp_path: Path, name: str, after: str | None = None, weight: float = 1.0) -> Job:
    return Job(name, tmp_path / name, {"score_on_unused": 0}, after, 4, weight)


def run(executor: MadeUp, jobs: list[Job], stop: Any = Stop) -> bool:
    return run_jobs(jobs, executor, SweepProgress(jobs, wanted=True), stop)


def test_students_wait_for_their_teacher_and_others_do_not(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "kd", after="teacher"), job(tmp_path, "teacher"), job(tmp_path, "dml"), job(tmp_path, "orc", after="teacher")]
    executor = MadeUp(2, jobs)
    assert run(executor, jobs)
    assert executor.log == ["+teacher", "+dml", "-teacher", "+kd", "-dml", "+orc", "-kd", "-orc"]


def test_failures_and_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(tmp_path, name) for name in ("old", "bad", "odd", "good")]
    jobs += [job(tmp_path, "pupil", after="bad"), job(tmp_path, "grandchild", after="pupil")]
    finish(jobs[0])
    executor = MadeUp(9, jobs, {"bad": {"error": "no good"}, "odd": {"stopped": "saved"}})
    assert run(executor, jobs)
    assert {each.name: each.failed for each in jobs} == {
        "old": "",
        "bad": "no good",
        "odd": "somebody else stopped it",
        "good": "",
        "pupil": "its teacher bad failed",
        "grandchild": "its teacher pupil failed",
    }
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/6] old: was there"
    assert lines[1].startswith("[2/6] bad: failed: no good")
    assert "good: hold-out 50.00%, 7 s of training" in " ".join(lines)
    assert "98.7" not in " ".join(lines), "nobody looks at the test set meanwhile"


def test_a_process_that_leaves_no_result_has_failed(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "empty")]
    executor = MadeUp(1, jobs)
    executor.wait = lambda seconds: {"empty": {}}  # type: ignore[method-assign]
    assert run(executor, jobs)
    assert jobs[0].failed == "it left no result"


def test_a_stop_begins_nothing_and_waits_for_all(tmp_path: Path) -> None:
    jobs = [job(tmp_path, name) for name in "abcd"]
    executor, stop = MadeUp(2, jobs), Stop()
    executor.after = lambda: setattr(stop, "asked", True)
    assert not run(executor, jobs, stop)
    assert executor.log == ["+a", "+b", "-a", "-b"]
    assert [each.finished() for each in jobs] == [True, False, False, False]
    assert not any(each.failed for each in jobs)


def test_the_time_left_goes_by_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("studygroup.sweep.progress.time", types.SimpleNamespace(monotonic=lambda: now[0]))
    jobs = [job(tmp_path, "light", weight=1.0), job(tmp_path, "heavy", weight=9.0), job(tmp_path, "old", weight=50.0)]
    finish(jobs[2])
    told = SweepProgress(jobs, wanted=False)
    assert told.time_left() == ""
    now[0] = 110.0
    finish(jobs[0])
    assert told.time_left() == ", about 90 s left"
    jobs[1].folder.mkdir()
    (jobs[1].folder / "metrics.jsonl").write_text("{}\n{}\n")
    assert jobs[1].epochs_done() == 2
    assert told.time_left() == ", about 8 s left"  # 5.5 of 10 in 10 seconds
    jobs[1].failed = "oh"
    assert told.time_left() == ""


def test_stages_count_as_far_as_they_are(tmp_path: Path) -> None:
    one = job(tmp_path, "takd")
    for path, epochs in (("stages/assistant1", 2), ("stages/assistant2", 1), ("", 0)):
        (one.folder / path).mkdir(parents=True, exist_ok=True)
        (one.folder / path / "metrics.jsonl").write_text("{}\n" * epochs)
    assert one.epochs_done() == 3
    (one.folder / "stages" / "assistant1" / "result.json").write_text('{"method": "takd", "seconds": 5.0}')
    (one.folder / "result.json").write_text('{"method": "takd", "selected": {"holdout": 0.5}, "seconds": 7.0}')
    assert one.epochs_done() == one.epochs
    assert one.summary() == "hold-out 50.00%, 12 s of training"


def test_bars_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    jobs = [job(tmp_path, "first"), job(tmp_path, "second")]
    told = SweepProgress(jobs, wanted=True)
    told.look(["first"])
    finish(jobs[0])
    told.end("first", jobs[0].summary())
    told.look(["second"])
    told.close()
    written = capsys.readouterr().err
    assert "[1/2] first: hold-out 50.00%, 7 s of training" in written
    assert "1 of 2 runs" in written
    assert "epoch 0/4" in written


@pytest.mark.parametrize(
    ("budget", "per_epoch", "epochs"),
    [(1000.0, 100.0, 10), (1000.0, 333.0, 3), (0.3, 0.1, 3), (1000.0, 2000.0, 1), (0.0, 5.0, 1), (1e18, 1e16, 100)],
)
def test_affordable(budget: float, per_epoch: float, epochs: int) -> None:
    assert affordable(budget, per_epoch) == epochs


def test_a_schedule_goes_with_its_epochs() -> None:
    words = {"epochs": 200, "milestones": [60, 120, 160], "warmup": 5.0, "gamma": 0.2}
    assert with_epochs(words, 100) == {"epochs": 100, "milestones": [30, 60, 80], "warmup": 2.5, "gamma": 0.2}
    assert with_epochs(words, 3)["milestones"] == [1, 2]
    assert with_epochs({**words, "milestones": []}, 7)["milestones"] == []
