"""One run of a comparison, in a process of its own.

The task is a line of JSON on standard input, and its outcome is JSON on standard output; everything that is printed meanwhile goes to
standard error. When standard input ends, because the parent wants to stop or has died, the run saves itself.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass

Outcome = dict[str, str]
"""Empty if all went well; else `error` or `stopped` with the reason."""


@dataclass(frozen=True)
class Task:
    """The task of a worker.

    Attributes:
        options: of `studygroup train`, as `TrainOptions.plain` gives them.
        score_on_unused: number of unused samples to score on; 0 for none.
        directory: to work in.
        threads: number of threads; None to leave it as it is.
    """

    options: Mapping[str, object]
    score_on_unused: int = 0
    directory: str = "."
    threads: int | None = None

    def to_json(self) -> str:
        """Return the task as a line of JSON."""
        return json.dumps(asdict(self))


def work(task: Task) -> Outcome:
    """Train a run, continuing what is there.

    Returns:
        Nothing, or `stopped`, or an `error` with its `traceback`; what was trained is in the run folder.
    """
    from dataclasses import replace
    from pathlib import Path

    import torch

    from studygroup.errors import TrainingError, UserError
    from studygroup.options import TrainOptions
    from studygroup.pipeline.train import train
    from studygroup.runs.contents import kind_of_folder
    from studygroup.sweep.unused import score_unused

    if task.threads:
        torch.set_num_threads(task.threads)
    os.chdir(task.directory)
    try:
        options = TrainOptions.from_plain(task.options)
        resume = kind_of_folder(Path(options.out or "")) == "run"
        run = train(replace(options, resume=resume, overwrite=False))
        if task.score_on_unused:
            score_unused(run, task.score_on_unused)
    except KeyboardInterrupt:
        return {"stopped": "everything is saved"}
    except Exception as error:  # noqa: BLE001 (the other runs go on)
        expected = isinstance(error, UserError | TrainingError)
        message = " ".join(str(error).split())
        return {"error": message if expected else f"{type(error).__name__}: {message}", "traceback": traceback.format_exc()}
    return {}


def main() -> None:
    """Do the task on standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have disabled it for background processes
    answer, sys.stdout = sys.stdout, sys.stderr

    def wait_for_end_of_input() -> None:
        sys.stdin.read()
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # interrupts system calls, too
        else:
            _thread.interrupt_main()

    try:
        task = Task(**json.loads(sys.stdin.readline()))
        threading.Thread(target=wait_for_end_of_input, daemon=True).start()
        outcome = work(task)
    except KeyboardInterrupt:
        outcome = {"stopped": "nothing was trained yet"}
    if "traceback" in outcome:
        print(outcome["traceback"], file=sys.stderr)
    print(json.dumps(outcome), file=answer, flush=True)
    os._exit(0)  # the thread that waits for the end of input would block an ordinary exit
