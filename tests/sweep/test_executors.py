"""Executors: processes that end in different ways, and a fake Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from studygroup.errors import UserError
from studygroup.options import CompareOptions
from studygroup.runs.layout import ComparisonFiles
from studygroup.sweep import comparison
from studygroup.sweep.executors import Executor, ProcessExecutor, RayExecutor
from studygroup.sweep.worker import Outcome, Task

# A worker without torch that executes the code in its task's options.
PROGRAM = """
import sys, types
sys.modules["studygroup.sweep.worker"] = None
import importlib.util, json, os, time
spec = importlib.util.spec_from_file_location("the_worker", {path!r})
worker = sys.modules["the_worker"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
def work(task):
    print("a line for the log", task.threads, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["OMP_NUM_THREADS"])
    try:
        exec(task.options["do"])
    except KeyboardInterrupt:
        return {{"stopped": "saved"}}
    return {{"error": task.options["error"]}} if "error" in task.options else {{}}
worker.work = work
worker.main()
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ProcessExecutor]:
    executor = ProcessExecutor(2, tmp_path / "logs", threads=2, gpus=("3", "5"))
    executor.program = PROGRAM.format(path=str(Path(comparison.__file__).with_name("worker.py")))
    yield executor
    executor.close()


def outcomes(executor: Executor, *names: str) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    until = time.monotonic() + 60
    while not found.keys() >= set(names):
        assert time.monotonic() < until
        found |= executor.wait(0.1)
    return found


def test_the_outcome_of_each_process(processes: ProcessExecutor, tmp_path: Path) -> None:
    processes.start("good", Task({"do": "pass"}))
    processes.start("bad", Task({"do": "pass", "error": "it was bad"}))
    assert outcomes(processes, "good", "bad") == {"good": {}, "bad": {"error": "it was bad"}}
    for name, gpu in (("good", "3"), ("bad", "5")):
        assert (tmp_path / "logs" / f"{name}.log").read_text() == f"a line for the log 2 {gpu} 2\n"
    processes.start("killed", Task({"do": "os.kill(os.getpid(), 9)"}))
    processes.start("gone", Task({"do": "os._exit(3)"}))
    found = outcomes(processes, "killed", "gone")
    assert "killed by signal 9; out of memory? See " in found["killed"]["error"]
    assert "ended with exit code 3; see " in found["gone"]["error"]
    assert processes.wait(0.0) == {}


def test_a_stop_reaches_all_processes(processes: ProcessExecutor, tmp_path: Path) -> None:
    for name in ("a", "b"):
        processes.start(name, Task({"do": "print('started', flush=True); time.sleep(60)"}))
    until = time.monotonic() + 60
    while not all("started" in (tmp_path / "logs" / f"{name}.log").read_text() for name in ("a", "b")):
        assert time.monotonic() < until
        time.sleep(0.05)
    processes.stop()
    assert outcomes(processes, "a", "b") == {"a": {"stopped": "saved"}, "b": {"stopped": "saved"}}


def test_closing_kills_all_processes(processes: ProcessExecutor) -> None:
    processes.start("stubborn", Task({"do": "import signal; signal.signal(2, signal.SIG_IGN); time.sleep(60)"}))
    pid = next(iter(processes._running.values()))[0].pid
    processes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_workers_threads_and_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(comparison, "available_cpus", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def executor(jobs: int, **given: Any) -> tuple[int, int, list[str]]:
        options = CompareOptions(data="digits", device="cpu", **given)
        found = comparison.choose_executor(options, ComparisonFiles(tmp_path), jobs)
        assert isinstance(found, ProcessExecutor)
        return found.slots, found.threads, found.gpus

    assert executor(20) == (8, 1, [])
    assert executor(2) == (2, 4, [])
    assert executor(20, workers=3) == (3, 2, [])
    assert executor(20, workers=30) == (30, 1, [])
    assert executor(20, threads=2) == (4, 2, [])
    assert executor(20, threads=16) == (1, 16, [])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torch has read it already
    assert executor(2) == (2, 1, []), "what the environment says is not overridden"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(comparison, "uses_gpu", lambda _: True)
    monkeypatch.setattr(comparison, "pick_device", lambda _: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert executor(20) == (2, 4, ["0", "1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert executor(20) == (3, 2, ["4", "6", "7"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    assert executor(20) == (1, 8, []), "with one GPU, CUDA_VISIBLE_DEVICES is not changed"


class Reference:
    def __init__(self, function: Any, task: Task) -> None:
        self.function, self.task = function, task


class FakeRay(ModuleType):
    """The parts of Ray that are used; a task runs when it is waited for."""

    def __init__(self) -> None:
        super().__init__("ray")
        error = type("RayError", (Exception,), {})
        self.exceptions = SimpleNamespace(RayError=error, TaskCancelledError=type("TaskCancelledError", (error,), {}))
        self.calls: list[Any] = []
        self.cancelled: list[object] = []
        self.joined = False
        self.resources = {"CPU": 6.0, "GPU": 2.0, "memory": 1e9}

    def init(self, **words: Any) -> None:
        if words["address"] != "here:1":
            raise ConnectionError("no\ncluster")
        self.calls.append(words)

    def is_initialized(self) -> bool:
        return self.joined

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, **options: Any) -> Any:
        self.calls.append(options)
        return lambda function: SimpleNamespace(remote=lambda task: Reference(function, task))

    def wait(self, references: list[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:num_returns], references[num_returns:]

    def get(self, reference: Any) -> dict[str, str]:
        if reference in self.cancelled:
            raise self.exceptions.TaskCancelledError
        if "dies" in reference.task.options:
            raise self.exceptions.RayError("the machine\nis gone")
        assert reference.function.__name__ == "work"
        return {"error": f"{reference.task.options}, {reference.task.threads}"}

    def cancel(self, reference: Any, force: bool = False) -> None:
        self.cancelled.append(reference)

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_on_a_ray_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    executor = RayExecutor("here:1")
    assert (executor.slots, ray.calls[0]["address"]) == (6, "here:1")
    assert ray.calls[1] == {"num_cpus": 1, "num_gpus": 0, "max_retries": 0}
    executor.start("a", Task({"x": 1}))
    executor.start("b", Task({"dies": True}))
    assert executor.wait(0.0) == {"a": {"error": "{'x': 1}, None"}}
    assert executor.wait(0.0) == {"b": {"error": "Ray: the machine is gone"}}
    executor.start("c", Task({}))
    executor.stop()
    assert executor.wait(0.0) == {"c": {"stopped": "it was cancelled"}}
    executor.close()
    assert ray.calls[-1] == "shutdown"
    assert RayExecutor("here:1", gpu=True).slots == 2
    assert RayExecutor("here:1", gpu=True, workers=5).slots == 5
    ray.joined, ray.resources = True, {"CPU": 3.0}
    executor = RayExecutor("here:1", gpu=True)
    assert executor.slots == 3, "the cluster has no GPU"
    assert ray.calls[-1] == {"num_cpus": 1, "num_gpus": 0, "max_retries": 0}
    executor.close()
    assert ray.calls[-1] != "shutdown", "it was joined before"
    with pytest.raises(UserError, match=r"there is no Ray cluster at there:1 \(no cluster\)"):
        RayExecutor("there:1")


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"ray is not installed; pip install 'studygroup\[ray\]'"):
        RayExecutor("auto")


COMMAND = "compare digits --methods dml --seeds 1 --train-size 96 --holdout 48 --batch-size 32 --precision float32"


@pytest.mark.slow
def test_ctrl_c_saves_all_runs_and_the_printed_command_continues(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "studygroup", *COMMAND.split(), "--epochs", "60", "--out", str(out), "--cache", str(tmp_path / "cache")]
    process = subprocess.Popen([*words, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (out / "runs" / "dml-s0" / "metrics.jsonl").exists():  # the one that takes longer
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, written = process.communicate(timeout=60)
    assert process.returncode == 130, written
    last = written.strip().splitlines()[-1]
    assert "of 2 runs are finished, the others are saved. Continue with: studygroup compare --config" in last
    assert not (out / "runs" / "dml-s0" / "result.json").exists()
    assert 1 <= len((out / "runs" / "dml-s0" / "metrics.jsonl").read_text().splitlines()) < 60
    again = [sys.executable, "-m", *last.partition("Continue with: ")[2].split()]
    finished = subprocess.run(again, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "[2/2]" in finished.stderr
    whole = tmp_path / "whole"
    assert subprocess.run([*words[:-4], "--out", str(whole), *words[-2:]], capture_output=True, check=False).returncode == 0
    for name in ("baseline-s0", "dml-s0"):
        first, second = ((folder / "runs" / name / "members" / "best.safetensors").read_bytes() for folder in (out, whole))
        assert first == second, "as if it had not been stopped"
