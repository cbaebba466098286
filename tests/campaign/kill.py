"""Kill anywhere: every method, and `compare`; what a resumed run leaves has the bytes of one that was never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from studygroup.methods import METHODS
from tests.campaign.process import POLL, Case, Child, Verdict, command, processes_in, read_json
from tests.campaign.world import SMALL, World, differences

KILLS = 3
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
"""What Python reports to an audit hook before it changes something in a folder."""
OPTIONS = {
    **{name: ["--method.assistants", "resnet8"] for name in ("takd", "dgkd")},
    **{name: ["--method.initial_epochs", "1"] for name in ("ab", "ft", "fsp")},
    "cgl": ["--method.students", "4"],
}
STAGED = ("kd", "takd", "orc")
"""Methods whose teacher is trained first here; others have one that is trained."""


def cases(world: World) -> Iterator[Case]:
    """Yield a case for each method in turn, `compare` between them, until the time is over."""
    for turn in range(100):
        for number, method in enumerate(METHODS):
            if number % 9 == 4:
                victim = ("parent", "worker")[(turn + number // 9) % 2]
                yield Case(f"compare-{victim}-{turn}-{number}", partial(killed_comparison, world, victim, turn), seconds=1200)
            yield Case(f"{method}-{turn}", partial(killed_run, world, method, turn), seconds=900)


def words_of(world: World, method: str) -> list[str]:
    """Return the command of a short run."""
    words = [
        "train",
        "digits",
        *SMALL,
        "--method",
        method,
        "--checkpoint-steps",
        "1",
        "--cache",
        str(world.cache),
        *OPTIONS.get(method, ()),
    ]
    if METHODS[method].needs_teacher:
        words += ["--teacher", "resnet8", "--teacher-epochs", "1"] if method in STAGED else ["--teacher", str(world.run)]
    return words


def is_event(name: str, arguments: tuple[Any, ...], folder: str) -> bool:
    """Return whether something is about to be changed in a folder."""
    if name not in EVENTS or not arguments or not str(arguments[0]).startswith(folder):
        return False
    return name != "open" or (len(arguments) > 1 and isinstance(arguments[1], str) and "r" not in arguments[1])


def hook(folder: str, happens: Callable[[int], None]) -> Callable[[], None]:
    """Return a function that calls `happens` with the number of each event in a folder."""

    def install() -> None:
        count = 0

        def audit(name: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if is_event(name, arguments, folder):
                count += 1
                happens(count)

        sys.addaudithook(audit)

    return install


def killed_run(world: World, method: str, turn: int) -> Verdict:
    """Train a run whole, then kill it several times, and compare."""
    chance = world.random(method, turn)
    here = Path.cwd()
    words = words_of(world, method)
    counted = here / "events"
    whole = Child(
        command([*words, "--out", str(here / "whole")], before=hook(str(here / "whole"), lambda count: _note(counted, count))), here
    )
    if whole.wait(400) != 0:
        return Verdict(0, (f"{method} does not train: {whole.text()[-200:]}",))
    events = int(counted.read_text())
    out = str(here / "parts")
    kills = 0
    for _ in range(KILLS):
        at = chance.randint(1, events)
        dies = chance.random() < 0.5
        before = hook(out, lambda count, at=at: os.kill(os.getpid(), signal.SIGKILL) if count == at else None) if dies else lambda: None  # type: ignore[misc]
        child = Child(command([*words, "--out", out, "--resume"], before=before), here)
        if not dies:
            kill_when(child, Path(out), at, chance)
        code = child.wait(400)
        if code == 0:
            break
        if code != -signal.SIGKILL:
            return Verdict(kills, (f"{method}, killed {kills} times, does not go on (seed {world.seed}): {child.text()[-300:]}",))
        kills += 1
    last = Child(command([*words, "--out", out, "--resume"]), here)
    if last.wait(400) != 0:
        return Verdict(kills, (f"{method}, killed {kills} times, does not finish (seed {world.seed}): {last.text()[-300:]}",))
    found = differences(here / "whole", here / "parts")
    return Verdict(kills, tuple(f"{method}, killed {kills} times (seed {world.seed}): {text}" for text in found))


def _note(path: Path, count: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.pwrite(descriptor, str(count).encode(), 0)
    os.close(descriptor)


def kill_when(child: Child, folder: Path, changes: int, chance: random.Random) -> None:
    """Kill a process once a folder has changed so many times, and a moment later; it does not depend on how fast it is."""
    seen, before = 0, None
    while child.poll() is None:
        now = sorted(str(path) for path in folder.rglob("*")) if folder.exists() else []
        seen, before = seen + (now != before), now
        if 2 * seen >= changes:
            time.sleep(chance.random() * 0.05)
            child.kill()
            return
        time.sleep(POLL)


def killed_comparison(world: World, victim: str, turn: int) -> Verdict:
    """Kill a comparison, or one of its workers, and run the same command again."""
    chance = world.random("compare", victim, turn)
    here = Path.cwd()
    words = ["compare", "digits", *SMALL, "--methods", "dml", "--seeds", "1", "--workers", "2", "--cache", str(world.cache)]
    words = [sys.executable, "-m", "studygroup", *words, "--checkpoint-steps", "1", "--no-control"]
    whole = subprocess.run([*words, "--out", "whole"], capture_output=True, text=True, check=False)
    if whole.returncode:
        return Verdict(0, (f"compare does not run: {whole.stderr[-300:]}",))
    with open("log", "w") as log:
        process = subprocess.Popen([*words, "--out", "parts"], stdout=log, stderr=log)
        wanted = chance.randint(1, 12)
        while process.poll() is None and len(list(Path("parts").rglob("*.*"))) < wanted:
            time.sleep(POLL)
        workers = [pid for pid in processes_in(here) if pid != process.pid]
        chosen = [process.pid] if victim == "parent" else workers[:1]
        for pid in chosen:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    kills, defects = len(chosen), []
    until = time.monotonic() + 120
    while processes_in(here) and time.monotonic() < until:
        time.sleep(0.1)
    if left := processes_in(here):
        defects.append(f"{len(left)} workers outlive a killed comparison")
    if victim == "worker" and chosen and process.returncode == 0 and not read_json(Path("parts/leaderboard.json")):
        defects.append("a killed worker is not reported")
    again = subprocess.run([*words, "--out", "parts"], capture_output=True, text=True, check=False)
    if again.returncode:
        defects.append(f"compare does not go on after its {victim} was killed: {again.stderr[-300:]}")
    for run in sorted(path.name for path in Path("whole/runs").iterdir()):
        defects += [
            f"compare, {victim} killed: {run}: {text}" for text in differences(here / "whole/runs" / run, here / "parts/runs" / run)
        ]
    return Verdict(kills, tuple(defects))
