"""Cases of the campaign, each in a process and a folder of its own: it may crash, hang or be killed."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

POLL = 0.005


class Verdict(NamedTuple):
    """The outcome of a case: how many things were tried, what was wrong with them, and why it was left out if it was."""

    tried: int = 1
    defects: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Case:
    """A case.

    Attributes:
        name: of the case.
        run: tries it in the working directory, an empty folder.
        seconds: after which it counts as hanging.
    """

    name: str
    run: Callable[[], Verdict]
    seconds: float = 300.0


class Child:
    """A forked process that calls a function, with its output in files; it costs no start of Python."""

    def __init__(self, action: Callable[[], int], folder: Path, *, memory: int | None = None) -> None:
        """Start it.

        Args:
            action: returns the exit code.
            folder: its working directory, with its output in `stdout` and `stderr` beside it.
            memory: bytes of address space that it may have.
        """
        self.outputs = [folder.with_name(f"{folder.name}.{name}") for name in ("stdout", "stderr")]
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        self.status: int | None = None
        if self.pid == 0:
            self._run(action, folder, memory)

    def _run(self, action: Callable[[], int], folder: Path, memory: int | None) -> None:
        code = 70
        try:
            os.setsid()
            os.chdir(folder)
            for descriptor, path in zip((1, 2), self.outputs, strict=True):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if memory is not None:
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            code = action()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:  # noqa: BLE001 (whatever it is, it must not return into the parent's code)
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; return the exit code, None if it hangs, after which it is killed with all that it started."""
        until = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < until:
            time.sleep(POLL)
        code = self.status
        self.kill()
        return code

    def kill(self) -> None:
        """Kill it and what is left of its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(POLL)

    def text(self) -> str:
        """Return what it printed to standard error, and before that to standard output."""
        return "".join(path.read_text(errors="replace") for path in self.outputs if path.exists())


def command(words: list[str], *, before: Callable[[], None] = lambda: None) -> Callable[[], int]:
    """Return a function that runs the command line `studygroup WORDS` in this process."""

    def run() -> int:
        from studygroup.cli import main

        before()
        return main(words)

    return run


def run_cases(cases: Iterator[Case], folder: Path, *, until: float, jobs: int) -> Iterator[tuple[str, Verdict]]:
    """Run cases, some at once, and yield the verdicts; none but the first is started after the time `until`."""
    running: dict[Case, tuple[Child, Path, float]] = {}
    number = 0
    waiting: Case | None = next(cases, None)
    while running or waiting is not None:
        if number and time.monotonic() > until:
            waiting = None
        if waiting is not None and len(running) < jobs:
            number += 1
            own = folder / f"{number}"
            (own / "here").mkdir(parents=True)
            running[waiting] = (Child(_judge(waiting, own), own / "here"), own, time.monotonic() + waiting.seconds)
            waiting = next(cases, None)
            continue
        for case, (child, own, end) in list(running.items()):
            if child.poll() is None and time.monotonic() < end:
                continue
            hangs = child.poll() is None
            child.kill()
            del running[case]
            verdict = _read(own, child, hangs=hangs)
            if not verdict.defects:
                shutil.rmtree(own, ignore_errors=True)
            yield case.name, verdict
        time.sleep(POLL)


def _judge(case: Case, own: Path) -> Callable[[], int]:
    def judge() -> int:
        verdict = case.run()
        (own / "verdict").write_text(json.dumps(verdict))
        return 0

    return judge


def _read(own: Path, child: Child, *, hangs: bool) -> Verdict:
    if (own / "verdict").exists():
        tried, defects, skipped = json.loads((own / "verdict").read_text())
        return Verdict(tried, tuple(defects), skipped)
    last = (child.text().strip().splitlines() or ["nothing was printed"])[-1][:200]
    tried = own / "here" / "tried"  # of a fuzzer: the example that it died of
    note = f"; its input is {tried}" if tried.exists() else ""
    return Verdict(1, (f"it hangs ({last}){note}" if hangs else f"it ended with {child.status} ({last}){note}",))


def processes_in(folder: Path) -> list[int]:
    """List the processes that work in a folder, but this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(path / "cwd")).is_relative_to(folder) and int(path.name) != os.getpid():
                found.append(int(path.name))
    return found


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
