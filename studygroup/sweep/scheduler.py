"""Run jobs so that every teacher is finished before its students start."""

from __future__ import annotations

import time
from collections.abc import Sequence

from studygroup.sweep.executors import Executor
from studygroup.sweep.job import Job
from studygroup.sweep.progress import SweepProgress
from studygroup.sweep.worker import Outcome
from studygroup.training.signals import StopRequest

POLL_SECONDS = 0.5


def run_jobs(jobs: Sequence[Job], executor: Executor, progress: SweepProgress, stop: StopRequest) -> bool:
    """Run all jobs that are not finished; a failure is recorded in its job, and the others go on.

    Args:
        jobs: in the order in which they start, as far as their teachers allow.
        executor: runs them.
        progress: shows what ended.
        stop: whether to stop; running jobs save themselves.

    Returns:
        True if all jobs ended; False after a stop.
    """
    waiting = [job for job in jobs if not job.finished()]
    running: dict[str, Job] = {}
    started: dict[str, float] = {}
    by_name = {job.name: job for job in jobs}
    for job in jobs:
        if job not in waiting:
            progress.end(job.name, "already finished")
    stopping = False
    while running or (waiting and not stopping):
        if stop.requested and not stopping:
            stopping = True
            executor.stop()
        for job in () if stopping else list(waiting):
            teachers = [by_name[name] for name in job.after]
            failed = next((teacher for teacher in teachers if teacher.failed), None)
            if failed is not None:
                job.failed = f"its teacher {failed.name} failed"
                progress.end(job.name, f"failed: {job.failed}")
                waiting.remove(job)
            elif len(running) < executor.slots and all(teacher.finished() for teacher in teachers):
                executor.start(job.name, job.task)
                started[job.name] = time.monotonic()
                running[job.name] = job
                waiting.remove(job)
        for name, outcome in (executor.wait(POLL_SECONDS) if running else {}).items():
            running[name].wall = time.monotonic() - started[name]
            _end(running.pop(name), outcome, progress, stopping=stopping)
        progress.update(running)
    return not stopping


def _end(job: Job, outcome: Outcome, progress: SweepProgress, *, stopping: bool) -> None:
    if stopping and not job.finished():  # whatever ended it: a real failure will happen again
        progress.end(job.name, f"stopped after {job.epochs_done()} of {job.epochs} epochs")
        return
    stopped = "it was stopped from outside" if "stopped" in outcome else ""
    job.failed = outcome.get("error", stopped) or ("" if job.finished() else "it left no result")
    progress.end(job.name, f"failed: {job.failed}" if job.failed else job.summary())
