"""`--devices`: ranks that are started, killed, interrupted and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from studygroup.distributed import launch
from studygroup.distributed.collectives import RankLost
from studygroup.errors import TrainingError, UserError
from studygroup.options import RankOptions
from studygroup.runs.member import Run


@pytest.mark.parametrize(
    ("options", "env", "expected"),
    [(RankOptions(), {}, False), (RankOptions(devices=2), {}, True), (RankOptions(devices=2), {"WORLD_SIZE": "2"}, False)],
)
def test_ranks_are_started_once(options: RankOptions, env: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({"RANK": "0", **env} if env else {}).items():
        monkeypatch.setenv(name, value)
    assert launch.needs_launch(options) is expected


def test_options_must_match_the_ranks_that_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--rendezvous HOST:PORT"):
        launch.needs_launch(RankOptions(nodes=2))
    with pytest.raises(UserError, match="rendezvous is a:1, but there is one node"):
        launch.needs_launch(RankOptions(rendezvous="a:1"))
    for rendezvous in ("nonsense", "127.0.0.1:99999", "127.0.0.1:", ":29500", "a:0", "a:" + "9" * 5000):
        with pytest.raises(UserError, match="it must be HOST:PORT, with a port from 1 to 65535"):
            launch.needs_launch(RankOptions(nodes=2, rendezvous=rendezvous))
    assert launch.needs_launch(RankOptions(nodes=2, rendezvous="node1:29500"))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="devices is 3, nodes 1, but torchrun started 4 ranks"):
        launch.needs_launch(RankOptions(devices=3))
    assert not launch.needs_launch(RankOptions(devices=2, nodes=2))


def test_the_error_that_caused_the_others_is_raised() -> None:
    outcomes = {0: {"RankLost": "no answer"}, 1: {"TrainingError": "the loss is nan"}}
    with pytest.raises(TrainingError, match="nan"):
        launch._first_result(outcomes)
    with pytest.raises(UserError, match="no data"):
        launch._first_result({**outcomes, 2: {"UserError": "no data"}})
    with pytest.raises(RankLost, match="no answer"):
        launch._first_result({0: {"RankLost": "no answer"}, 1: {"RankLost": "nor here"}})
    assert launch._first_result({1: {"result": "b"}, 0: {"result": "a"}}) == "a"


def test_devices_train_together(train: Callable[..., Run], tmp_path: Path) -> None:
    alone = train(method="dml", out=tmp_path / "alone", batch_size=40)
    run = train(method="dml", out=tmp_path / "two", batch_size=40, devices=2, shard="members", device="cpu")
    assert run.result["ranks"]["number"] == 2
    assert run.result["ranks"]["bytes_per_step"] < run.result["ranks"]["data_parallel_bytes_per_step"] / 100
    for name in ("student0", "student1"):
        assert run.result["last"]["test"][name] == pytest.approx(alone.result["last"]["test"][name], abs=0.03)
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(UserError, match="already holds a run"):
        train(method="dml", out=tmp_path / "two", devices=2, device="cpu")
    with pytest.raises(UserError, match="1 students on 2 ranks"):
        train(method="baseline", out=tmp_path / "three", devices=2, shard="members", device="cpu")
    assert not (tmp_path / "three").exists()


def start(folder: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    words = ["train", "digits", "--method", "cgl", "--devices", "2", "--device", "cpu", "--epochs", "1000", "--train-size", "400"]
    return subprocess.Popen(
        [sys.executable, "-m", "studygroup", *words, "--cache", str(cache), "--out", str(folder), *more],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def wait_for_epochs(process: subprocess.Popen[str], folder: Path, epochs: int) -> None:
    deadline = time.monotonic() + 120
    while not ((folder / "metrics.jsonl").exists() and len((folder / "metrics.jsonl").read_text().splitlines()) >= epochs):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the ranks in /proc")
def test_a_killed_rank_ends_the_run_and_it_can_be_resumed(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, cache)
    wait_for_epochs(process, folder, 1)
    since = time.monotonic()
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - since < 60
    assert process.returncode == 1
    assert "rank 1 was killed (SIGKILL); the last checkpoint is kept" in stderr.splitlines()[-1]
    assert "--resume" in stderr.splitlines()[-1]

    process = start(folder, cache, "--resume")  # and then an interrupt as by Ctrl-C in a terminal: sent to all processes
    wait_for_epochs(process, folder, 3)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    epochs = [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the ranks in /proc")
def test_ranks_end_with_a_killed_launcher(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start(tmp_path / "run", cache)
    wait_for_epochs(process, tmp_path / "run", 1)
    ranks = ranks_of(process)
    assert len(ranks) == 2
    process.kill()
    try:
        process.communicate(timeout=30)  # the ranks write to its standard error, too, which ends with the last of them
    finally:
        left = [rank for rank in ranks if is_running(rank)]
        for rank in left:
            os.kill(rank, signal.SIGKILL)
    assert not left
    assert not list(temporary.glob("studygroup-ranks-*"))
