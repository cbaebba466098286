"""The order of runs, stops, and progress, with fake runs."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studygroup.options import RunOptions
from studygroup.runs.layout import RunFiles
from studygroup.sweep.budget import affordable
from studygroup.sweep.job import Job
from studygroup.sweep.progress import SweepProgress
from studygroup.sweep.scheduler import run_jobs
from studygroup.sweep.worker import Outcome, Task


class Stop:
    requested = False


class FakeExecutor:
    """Executor in which each wait ends the task that was started first."""

    description = "nowhere"

    def __init__(self, slots: int, jobs: list[Job], outcomes: dict[str, Outcome] | None = None) -> None:
        self.slots = slots
        self.jobs = {job.name: job for job in jobs}
        self.outcomes = outcomes or {}
        self.running: list[str] = []
        self.log: list[str] = []
        self.stopped = False
        self.after: Callable[[], object] = lambda: None

    def start(self, name: str, task: Task) -> None:
        self.running.append(name)
        assert len(self.running) <= self.slots
        self.log.append(f"+{name}")

    def wait(self, seconds: float) -> dict[str, Outcome]:
        assert self.running
        name = self.running.pop(0)
        self.log.append(f"-{name}")
        asked = {"stopped": "saved"} if len(self.log) % 2 else {"error": "interrupted during start-up"}
        outcome = asked if self.stopped else self.outcomes.get(name, {})
        if not outcome:
            finish(self.jobs[name])
        self.after()
        return {name: outcome}

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        pass


SELECTED = {"member": "student0", "epoch": 1, "holdout": 0.5, "test": 0.987}
RESULT = {"method": "takd", "data": "digits", "student": "resnet8", "selected": SELECTED, "last": {"epoch": 1, "holdout": {}, "test": {}}}


def finish(job: Job) -> None:
    job.files.folder.mkdir(parents=True)
    job.files.result.write_text(json.dumps({**RESULT, "seconds": 7.0}))


def job(tmp_path: Path, name: str, after: str = "", weight: float = 1.0) -> Job:
    return Job(name, RunFiles(tmp_path / name), Task({}), after.split(), 4, weight)


def run(executor: FakeExecutor, jobs: list[Job], stop: Any = Stop) -> bool:
    return run_jobs(jobs, executor, SweepProgress(jobs, wanted=True), stop)


def test_students_wait_for_their_teacher_and_others_do_not(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "kd", after="teacher"), job(tmp_path, "teacher"), job(tmp_path, "dml"), job(tmp_path, "orc", after="teacher")]
    executor = FakeExecutor(2, jobs)
    assert run(executor, jobs)
    assert executor.log == ["+teacher", "+dml", "-teacher", "+kd", "-dml", "+orc", "-kd", "-orc"]


def test_a_student_waits_for_all_its_teachers(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "kd", after="short long"), job(tmp_path, "short"), job(tmp_path, "long"), job(tmp_path, "dml")]
    executor = FakeExecutor(1, jobs)
    assert run(executor, jobs)
    assert executor.log == ["+short", "-short", "+long", "-long", "+kd", "-kd", "+dml", "-dml"]
    bad = [job(tmp_path, "pupil", after="good bad"), job(tmp_path, "good"), job(tmp_path, "bad")]
    run(FakeExecutor(1, bad, {"bad": {"error": "no good"}}), bad)
    assert bad[0].failed == "its teacher bad failed"


def test_failures_and_finished_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(tmp_path, name) for name in ("old", "bad", "odd", "good")]
    jobs += [job(tmp_path, "pupil", after="bad"), job(tmp_path, "grandchild", after="pupil")]
    finish(jobs[0])
    executor = FakeExecutor(9, jobs, {"bad": {"error": "no good"}, "odd": {"stopped": "saved"}})
    assert run(executor, jobs)
    assert {each.name: each.failed for each in jobs} == {
        "old": "",
        "bad": "no good",
        "odd": "it was stopped from outside",
        "good": "",
        "pupil": "its teacher bad failed",
        "grandchild": "its teacher pupil failed",
    }
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/6] old: already finished"
    assert lines[1].startswith("[2/6] bad: failed: no good")
    assert "good: hold-out 50.00%, 7 s of training" in " ".join(lines)
    assert "98.7" not in " ".join(lines), "no test accuracy is shown while runs go on"


def test_a_process_that_leaves_no_result_has_failed(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "empty")]
    executor = FakeExecutor(1, jobs)
    executor.wait = lambda seconds: {"empty": {}}  # type: ignore[method-assign]
    assert run(executor, jobs)
    assert jobs[0].failed == "it left no result"


def test_a_stop_starts_nothing_and_waits_for_running_tasks(tmp_path: Path) -> None:
    jobs = [job(tmp_path, name) for name in "abcd"]
    executor, stop = FakeExecutor(2, jobs), Stop()
    executor.after = lambda: setattr(stop, "requested", True)
    assert not run(executor, jobs, stop)
    assert executor.log == ["+a", "+b", "-a", "-b"]
    assert [each.finished() for each in jobs] == [True, False, False, False]
    assert not any(each.failed for each in jobs)


def test_the_time_left_is_estimated_from_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("studygroup.sweep.progress.time", types.SimpleNamespace(monotonic=lambda: now[0]))
    jobs = [job(tmp_path, "light", weight=1.0), job(tmp_path, "heavy", weight=9.0), job(tmp_path, "old", weight=50.0)]
    finish(jobs[2])
    progress = SweepProgress(jobs, wanted=False)
    assert progress.time_left() == ""
    now[0] = 110.0
    finish(jobs[0])
    assert progress.time_left() == ", about 90 s left"
    jobs[1].files.folder.mkdir()
    jobs[1].files.metrics.write_text("{}\n{}\n")
    assert jobs[1].epochs_done() == 2
    assert progress.time_left() == ", about 8 s left"  # 5.5 of 10 in 10 seconds
    jobs[1].failed = "oh"
    assert progress.time_left() == ""


def test_finished_epochs_of_stages_count(tmp_path: Path) -> None:
    one = job(tmp_path, "takd")
    for name, epochs in (("stages/assistant1", 2), ("stages/assistant2", 1), ("", 0)):
        files = RunFiles(one.files.folder / name)
        files.folder.mkdir(parents=True, exist_ok=True)
        files.metrics.write_text("{}\n" * epochs)
    assert one.epochs_done() == 3
    (one.files.stage("assistant1") / "result.json").write_text(json.dumps({**RESULT, "seconds": 5.0}))
    one.files.result.write_text(json.dumps({**RESULT, "seconds": 7.0}))
    assert one.epochs_done() == one.epochs
    assert one.summary() == "hold-out 50.00%, 12 s of training"


def test_bars_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    jobs = [job(tmp_path, "first"), job(tmp_path, "second")]
    progress = SweepProgress(jobs, wanted=True)
    progress.update(["first"])
    finish(jobs[0])
    progress.end("first", jobs[0].summary())
    progress.update(["second"])
    progress.close()
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


def test_schedules_are_scaled_with_the_epochs() -> None:
    options = RunOptions(data="digits", epochs=200, schedule="milestones", milestones=(60, 120, 160), warmup=5.0, gamma=0.2)
    half = RunOptions(data="digits", epochs=100, schedule="milestones", milestones=(30, 60, 80), warmup=2.5, gamma=0.2)
    assert options.stretched(100) == half
    assert options.stretched(3).milestones == (1, 2)
    assert replace(options, milestones=()).stretched(7).milestones == ()
