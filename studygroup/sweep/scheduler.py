"""Runs jobs in an order in which every teacher is there before its students."""

from __future__ import annotations

from collections.abc import Sequence

from studygroup.sweep.executors import Executor, Outcome
from studygroup.sweep.job import Job
from studygroup.sweep.progress import SweepProgress
from studygroup.training.signals import StopRequest

LOOK = 0.5  # seconds from one look at the progress to the next


def run_jobs(jobs: Sequence[Job], executor: Executor, progress: SweepProgress, stop: StopRequest) -> bool:
    """Run all jobs that are not finished; a failed one is noted in it, and the others go on.

    Args:
        jobs: in the order in which they are begun, if nothing keeps them from it.
        executor: where they run.
        progress: is told what ended.
        stop: whether to stop; the running jobs save themselves.

    Returns:
        Whether it went to the end; False after a stop.
    """
    waiting = [job for job in jobs if not job.finished()]
    running: dict[str, Job] = {}
    by_name = {job.name: job for job in jobs}
    for job in jobs:
        if job not in waiting:
            progress.end(job.name, "was there")
    asked = False
    while running or (waiting and not asked):
        if stop.asked and not asked:
            asked = True
            executor.stop()
        for job in () if asked else list(waiting):
            teacher = by_name[job.after] if job.after else None
            if teacher is not None and teacher.failed:
                job.failed = f"its teacher {teacher.name} failed"
                progress.end(job.name, f"failed: {job.failed}")
                waiting.remove(job)
            elif len(running) < executor.slots and (teacher is None or teacher.finished()):
                executor.start(job.name, job.task)
                running[job.name] = job
                waiting.remove(job)
        for name, outcome in (executor.wait(LOOK) if running else {}).items():
            _end(running.pop(name), outcome, progress, asked=asked)
        progress.look(running)
    return not asked


def _end(job: Job, outcome: Outcome, progress: SweepProgress, *, asked: bool) -> None:
    if asked and not job.finished():  # however it took the request: what went wrong by itself will do so again
        progress.end(job.name, f"stopped after {job.epochs_done()} of {job.epochs} epochs")
        return
    stopped = "somebody else stopped it" if "stopped" in outcome else ""
    job.failed = outcome.get("error", stopped) or ("" if job.finished() else "it left no result")
    progress.end(job.name, f"failed: {job.failed}" if job.failed else job.summary())
