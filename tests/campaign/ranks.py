"""Ranks and their launcher killed: all end, the error says it, and the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.campaign.process import Case, Verdict, processes_in
from tests.campaign.world import SMALL, World, differences


def cases(world: World) -> Iterator[Case]:
    """Yield cases, each with a kill of another process, in turn."""
    for turn in range(20):
        for victim in ("launcher", "rank"):
            yield Case(f"{victim}-{turn}", partial(killed, world, victim, turn), seconds=1200)


def killed(world: World, victim: str, turn: int) -> Verdict:
    """Train in two ranks, kill one process, and compare what is resumed."""
    chance = world.random("ranks", victim, turn)
    here = Path.cwd()
    words = [sys.executable, "-m", "studygroup", "train", "digits", *SMALL, "--method", "cgl", "--method.students", "2", "--devices", "2"]
    words += ["--device", "cpu", "--checkpoint-steps", "1", "--cache", str(world.cache)]
    whole = subprocess.run([*words, "--out", "whole"], capture_output=True, text=True, check=False)
    if whole.returncode:
        return Verdict(0, (f"two ranks do not train: {whole.stderr[-300:]}",))
    defects = []
    with open("log", "w+") as log:
        process = subprocess.Popen([*words, "--out", "parts"], stdout=log, stderr=log)
        wanted = chance.randint(1, 4)
        while process.poll() is None and len(list(Path("parts/checkpoints").glob("*.ckpt"))) < min(wanted, 2):
            time.sleep(0.005)
        others = [pid for pid in ranks(here) if pid != process.pid]
        chosen = process.pid if victim == "launcher" or not others else chance.choice(others)
        if process.poll() is not None:
            return Verdict(0, (), "it ended before it could be killed")
        os.kill(chosen, signal.SIGKILL)
        try:
            process.wait(300)
        except subprocess.TimeoutExpired:
            process.kill()
            defects.append("the launcher outlives a killed rank by five minutes")
        until = time.monotonic() + 120
        while processes_in(here) and time.monotonic() < until:
            time.sleep(0.1)
        if left := processes_in(here):
            defects.append(f"{len(left)} ranks outlive their {victim}")
        log.seek(0)
        last = (log.read().strip().splitlines() or [""])[-1]
    if victim == "rank" and chosen != process.pid and "was killed (SIGKILL)" not in last:
        defects.append(f"a killed rank is not named: {last[:200]}")
    again = subprocess.run([*words, "--out", "parts", "--resume"], capture_output=True, text=True, check=False)
    if again.returncode:
        return Verdict(1, (*defects, f"after a killed {victim} it does not go on: {again.stderr[-300:]}"))
    return Verdict(1, tuple(defects + [f"a killed {victim}: {text}" for text in differences(here / "whole", here / "parts", rounded=True)]))


def ranks(folder: Path) -> list[int]:
    """List the ranks: spawned processes, but for the one that tracks resources."""
    found = []
    for pid in processes_in(folder):
        words = Path(f"/proc/{pid}/cmdline").read_bytes() if Path(f"/proc/{pid}").exists() else b""
        if b"spawn_main" in words:
            found.append(pid)
    return found
