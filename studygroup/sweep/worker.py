"""One variant with one seed, in a process of its own.

The task comes as a line of JSON on standard input, and what came of it goes as JSON to standard output; everything that is printed
meanwhile goes to standard error. When standard input ends, because somebody wants to stop or is no more, the run saves itself.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

VALIDATION = "unused.json"


def work(task: dict[str, Any]) -> dict[str, str]:
    """Train a variant, going on with what is there.

    Args:
        task: all `arguments` of `studygroup.train`, `threads` (None to leave them as they are), `validation` samples, and the `cwd`.

    Returns:
        Nothing, or `stopped`, or an `error` with its `traceback`; what was learnt lies in the run's folder.
    """
    import torch

    from studygroup import session
    from studygroup.errors import TrainingError, UserError

    if task["threads"]:
        torch.set_num_threads(task["threads"])
    os.chdir(task["cwd"])
    folder = Path(task["arguments"]["out"])
    try:
        run = session.train({**task["arguments"], "resume": (folder / "config.yaml").exists(), "overwrite": False})
        if task["score_on_unused"]:
            from studygroup.sweep.unused import validate

            validate(run, task["score_on_unused"], folder / VALIDATION)
    except KeyboardInterrupt:
        return {"stopped": "everything is saved"}
    except Exception as error:  # noqa: BLE001 (the other variants go on)
        expected = isinstance(error, UserError | TrainingError)
        message = " ".join(str(error).split())
        return {"error": message if expected else f"{type(error).__name__}: {message}", "traceback": traceback.format_exc()}
    return {}


def main() -> None:
    """Do the task on standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have switched off for what runs in the background
    answer, sys.stdout = sys.stdout, sys.stderr

    def wait_for_the_end() -> None:
        sys.stdin.read()
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # ends what it waits for, too
        else:
            _thread.interrupt_main()

    try:
        task = json.loads(sys.stdin.readline())
        threading.Thread(target=wait_for_the_end, daemon=True).start()
        outcome = work(task)
    except KeyboardInterrupt:
        outcome = {"stopped": "nothing was learnt yet"}
    if "traceback" in outcome:
        print(outcome["traceback"], file=sys.stderr)
    print(json.dumps(outcome), file=answer, flush=True)
    os._exit(0)  # the thread that waits for the end would hold up an ordinary exit
