"""Executors of jobs: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from studygroup.errors import UserError
from studygroup.sweep.worker import Outcome, Task, work

POLL_SECONDS = 0.1
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Executor(Protocol):
    """Runner of tasks, several at once.

    Attributes:
        slots: number of parallel tasks.
        description: for tables.
    """

    slots: int
    description: str

    def start(self, name: str, task: Task) -> None:
        """Start a task; fewer than `slots` are running."""

    def wait(self, seconds: float) -> dict[str, Outcome]:
        """Wait at most so long for the first task to end; return the outcomes of all that ended, by name."""

    def stop(self) -> None:
        """Ask all running tasks to save themselves and stop; `wait` returns them once they have."""

    def close(self) -> None:
        """Kill what still runs."""


class ProcessExecutor:
    """Processes of this machine, each with its own threads, and with a GPU of its own if there are several.

    They have a session of their own, so that Ctrl-C at the terminal reaches the parent only, which stops them.

    Attributes:
        program: Python code that each process runs.
    """

    program = "from studygroup.sweep.worker import main; main()"

    def __init__(self, workers: int, logs: Path, *, threads: int = 1, gpus: Sequence[str] = ()) -> None:
        """Prepare; nothing is started.

        Args:
            workers: number of parallel processes.
            logs: folder for their output.
            threads: CPU threads of each.
            gpus: GPUs that they share, as `CUDA_VISIBLE_DEVICES` names them; empty to leave it as it is.
        """
        self.slots = workers
        self.logs = logs
        self.threads = threads
        self.gpus = list(gpus)
        self.description = f"{workers} process{'es' if workers > 1 else ''}, {self.threads} thread{'s' if self.threads > 1 else ''} each"
        self._running: dict[str, tuple[subprocess.Popen[str], int]] = {}

    def start(self, name: str, task: Task) -> None:
        """Start a task."""
        executor = min(set(range(self.slots)) - {taken for _, taken in self._running.values()})
        environment = os.environ | dict.fromkeys(THREADS, str(self.threads))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[executor % len(self.gpus)]
        self.logs.mkdir(parents=True, exist_ok=True)
        with open(self.logs / f"{name}.log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {self.program}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment,
                start_new_session=True,
            )
        self._running[name] = (process, executor)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already: `wait` says how
            process.stdin.write(replace(task, threads=self.threads).to_json() + "\n")
            process.stdin.flush()

    def wait(self, seconds: float) -> dict[str, Outcome]:
        """Return what ended."""
        until = time.monotonic() + seconds
        while True:
            ended = [name for name, (process, _) in self._running.items() if process.poll() is not None]
            left = until - time.monotonic()
            if ended or left <= 0:
                return {name: self._outcome(name) for name in ended}
            time.sleep(min(POLL_SECONDS, left))

    def stop(self) -> None:
        """End their standard input, which they take as a request."""
        for process, _ in self._running.values():
            self._hang_up(process)

    def close(self) -> None:
        """Kill what still runs."""
        for process, _ in self._running.values():
            process.kill()
        for name in list(self._running):
            self._outcome(name)

    def _outcome(self, name: str) -> Outcome:
        process, _ = self._running.pop(name)
        assert process.stdout is not None
        with process.stdout as answers:
            answer = answers.read().strip()
        self._hang_up(process)
        code = process.wait()
        if answer:
            outcome: Outcome = json.loads(answer.splitlines()[-1])
            return outcome
        log = self.logs / f"{name}.log"
        if code < 0:
            return {"error": f"its process was killed by signal {-code}; out of memory? See {log}"}
        return {"error": f"its process ended with exit code {code}; see {log}"}

    @staticmethod
    def _hang_up(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


class RayExecutor:
    """A Ray cluster whose machines share the file system and have this package."""

    def __init__(self, address: str, *, workers: int | None = None, gpu: bool = False) -> None:
        """Join the cluster.

        Args:
            address: as `ray.init` takes it.
            workers: tasks at once; by default as many as it has cores, or GPUs.
            gpu: whether a task takes a GPU, if the cluster has any.

        Raises:
            UserError: Ray is not installed, or there is no cluster.
        """
        try:
            import ray
        except ImportError as error:
            raise UserError("ray is not installed; pip install 'studygroup[ray]', or leave --ray out") from error
        self._joined = not ray.is_initialized()
        try:
            ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())[:150]
            raise UserError(f"there is no Ray cluster at {address} ({line}); `ray start --head` starts one; or leave --ray out") from error
        self._ray = ray
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]  # Ray has no types for it
        gpu = gpu and has.get("GPU", 0) >= 1
        self.slots = workers or max(int(has.get("GPU" if gpu else "CPU", 1)), 1)
        self.description = f"Ray at {address}, {self.slots} at once"
        self._work = ray.remote(num_cpus=1, num_gpus=1 if gpu else 0, max_retries=0)(work)
        self._running: dict[Any, str] = {}

    def start(self, name: str, task: Task) -> None:
        """Hand a task to the cluster."""
        self._running[self._work.remote(task)] = name

    def wait(self, seconds: float) -> dict[str, Outcome]:
        """Return what ended."""
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return {self._running.pop(reference): self._outcome(reference) for reference in ended}

    def stop(self) -> None:
        """Interrupt the tasks; those that wait for a place are given up."""
        for reference in self._running:
            self._ray.cancel(reference)

    def close(self) -> None:
        """Kill what still runs, and leave the cluster if it was joined here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._joined:
            self._ray.shutdown()

    def _outcome(self, reference: Any) -> Outcome:
        try:
            outcome: Outcome = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            return {"stopped": "it was cancelled"}
        except self._ray.exceptions.RayError as error:
            return {"error": f"Ray: {' '.join(str(error).split())[:300]}"}
        return outcome
