"""`compare` on a Ray cluster of two nodes, one of which is killed: its runs are done elsewhere or reported, and none is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.campaign.process import Case, Verdict, read_json
from tests.campaign.world import SMALL, World, differences

PORT = 26379
AGENTS = {
    "dashboard-agent-listen-port": 26401,
    "dashboard-agent-grpc-port": 26402,
    "runtime-env-agent-port": 26403,
    "metrics-export-port": 26404,
}
"""Ports of what each of Ray's nodes starts."""


def cases(world: World) -> Iterator[Case]:
    """Yield the only case."""
    yield Case("two nodes", partial(killed_node, world), seconds=1500)


def raylets() -> dict[int, list[int]]:
    """Return the processes of Ray's nodes on this machine, with what they started."""
    parents: dict[int, int] = {}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.name)] = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if path.joinpath("cmdline").read_bytes().split(b"\0")[0].endswith(b"/raylet"):
                found.append(int(path.name))
    return {pid: [child for child, parent in parents.items() if parent == pid] for pid in found}


def killed_node(world: World) -> Verdict:
    """Kill the node that works."""
    ray = Path(sys.executable).with_name("ray")
    if not ray.exists():
        return Verdict(0, (), "Ray is not installed")
    if raylets():
        return Verdict(0, (), "another Ray cluster runs on this machine")
    here = Path.cwd()
    temporary = Path("/tmp") / f"studygroup-campaign-ray-{os.getpid()}"  # paths of sockets must be short
    environment = {**os.environ, "RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "5"}
    common = ["--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", "80000000", "--disable-usage-stats"]
    head = ["--head", "--port", str(PORT), "--include-dashboard", "false", "--temp-dir", str(temporary)]
    try:
        nodes: list[set[int]] = []
        for number, place in enumerate((head, ["--address", f"127.0.0.1:{PORT}"])):
            # Ports that are given need not be waited for, which a busy machine does not always manage in time.
            words = [*place, *(word for name, port in AGENTS.items() for word in (f"--{name}", str(port + 10 * number)))]
            started = subprocess.run([ray, "start", *words, *common], env=environment, capture_output=True, text=True, check=False)
            if started.returncode:
                return Verdict(0, (), f"Ray does not start: {(started.stdout + started.stderr).strip().splitlines()[-1][:150]}")
            nodes.append(set(raylets()))
        second = next(iter(nodes[1] - nodes[0]))
        return compare(world, here, second, environment)
    finally:
        own = raylets()
        for pid in [*own, *(child for children in own.values() for child in children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run([ray, "stop", "--force"], capture_output=True, check=False)
        shutil.rmtree(temporary, ignore_errors=True)


def compare(world: World, here: Path, second: int, environment: dict[str, str]) -> Verdict:
    """Run a comparison on both nodes and kill the second once it has a task."""
    words = ["compare", "digits", *SMALL, "--methods", "dml,one", "--seeds", "2", "--cache", str(world.cache), "--no-control"]
    words = [sys.executable, "-m", "studygroup", *words, "--checkpoint-steps", "1"]
    with open("log", "w+") as log:
        process = subprocess.Popen([*words, "--out", "parts", "--ray", f"127.0.0.1:{PORT}"], stdout=log, stderr=log, env=environment)
        while process.poll() is None and len(list(Path("parts").rglob("*.ckpt"))) < 2:
            time.sleep(0.05)
        if process.poll() is not None:
            log.seek(0)
            return Verdict(0, (f"compare does not run on two nodes: {log.read()[-400:]}",))
        for pid in [second, *raylets().get(second, [])]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            code = process.wait(900)
        except subprocess.TimeoutExpired:
            process.kill()
            return Verdict(1, ("compare waits for ever for a node that was killed",))
    runs = ["baseline-s0", "baseline-s1", "dml-s0", "dml-s1", "one-s0", "one-s1"]
    finished = [run for run in runs if Path("parts/runs", run, "result.json").exists()]
    failed = read_json(Path("parts/comparison.json")).get("failed", {})
    defects = [f"{run} is neither finished nor reported" for run in runs if run not in finished and run not in failed]
    if bool(failed) != bool(code):
        defects.append(f"the exit code is {code}, with {len(failed)} failures")
    again = subprocess.run([*words, "--out", "parts", "--workers", "2"], capture_output=True, text=True, check=False)
    if again.returncode:
        defects.append(f"it does not go on after a node was killed: {again.stderr[-300:]}")
    whole = subprocess.run([*words, "--out", "whole", "--workers", "2"], capture_output=True, text=True, check=False)
    if whole.returncode:
        return Verdict(1, (*defects, f"compare does not run: {whole.stderr[-300:]}"))
    for run in runs:
        defects += [f"a node killed: {run}: {text}" for text in differences(here / "whole/runs" / run, here / "parts/runs" / run)]
    return Verdict(1, tuple(defects))
