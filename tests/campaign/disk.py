"""A disk that is full, read-only or slow: a clear error, nothing half written, and the same bytes once there is room."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign.process import Case, Child, Verdict, command
from tests.campaign.world import SMALL, World, differences

SIZES = (4, 64, 200, 400, 700, 1000, 1400, 1800)
"""Kilobytes of the full disks: a run has about two megabytes."""


def cases(world: World) -> Iterator[Case]:
    """Yield a case for each size, and for each command that writes."""
    for size in SIZES:
        yield Case(f"full-{size}", partial(full, world, size), seconds=900)
    for name, words in writers(world).items():
        for kind in ("full", "read-only"):
            yield Case(f"{kind}-{name}", partial(refused, words, kind), seconds=600)
    yield Case("slow", partial(slow, world), seconds=900)


def train(world: World, out: str) -> list[str]:
    """Return the command of a short run."""
    return ["train", "digits", *SMALL, "--method", "dml", "--out", out, "--checkpoint-steps", "1", "--cache", str(world.cache)]


def writers(world: World) -> dict[str, list[str]]:
    """Return commands that write to `disk`."""
    pixel = str(world.folder / "base" / "pixel.png")
    return {
        "train": train(world, "disk/run"),
        "report": ["report", str(world.run), "--out", "disk/report"],
        "export": ["export", str(world.run), "--format", "safetensors", "--out", "disk/model.safetensors", "--cache", str(world.cache)],
        "predict": ["predict", str(world.run), pixel, "--out", "disk/found.csv"],
        "cache": ["train", str(world.folder / "base" / "table.csv"), "--epochs", "1", "--out", "run", "--cache", "disk/cache"],
        "compare": ["compare", "digits", *SMALL, "--methods", "dml", "--seeds", "1", "--out", "disk/out", "--cache", str(world.cache)],
    }


@contextmanager
def mounted(size: int) -> Iterator[Callable[[str], None] | None]:
    """Mount a small file system at `disk` in the working directory; yields a function that remounts it, None where that is not allowed."""
    Path("disk").mkdir()

    def remounted(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", "disk"], check=True)

    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", "disk"], capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield remounted
    finally:
        subprocess.run(["umount", "-l", "disk"], check=False)


def complaint(code: int | None, text: str) -> str:
    """Return what is wrong with how a command failed; empty if it failed in one clear line."""
    lines = text.strip().splitlines() or [""]
    if code is None:
        return f"it hangs ({lines[-1][:150]})"
    if code not in (1, 2) or "Traceback" in text or not lines[-1].startswith("studygroup: error: "):
        return f"exit code {code}: {lines[-1][:250]}"
    return ""


def full(world: World, size: int) -> Verdict:
    """Train on a disk with too little room, then with enough."""
    here = Path.cwd()
    with mounted(size) as remount:
        if remount is None:
            return Verdict(0, (), "mounting is not allowed")
        first = Child(command(train(world, str(here / "disk" / "run"))), here)
        code = first.wait(400)
        if code == 0:
            return Verdict(0, (), f"{size} kB is enough")
        defects = [f"on a disk of {size} kB: {text}"] if (text := complaint(code, first.text())) else []
        if "No space left" not in first.text():
            defects.append(f"on a disk of {size} kB: {first.text().strip().splitlines()[-1][:250]}")
        remount("size=64m")
        again = Child(command([*train(world, str(here / "disk" / "run")), "--resume"]), here)
        if again.wait(400) != 0:
            return Verdict(1, (*defects, f"after a full disk of {size} kB it does not go on: {again.text()[-300:]}"))
        whole = Child(command(train(world, str(here / "whole"))), here)
        if whole.wait(400) != 0:
            return Verdict(1, (*defects, f"it does not train: {whole.text()[-200:]}"))
        defects += [f"after a full disk of {size} kB: {text}" for text in differences(here / "whole", here / "disk" / "run")]
    return Verdict(1, tuple(defects))


def refused(words: list[str], kind: str) -> Verdict:
    """Run a command that writes to a disk that is full or read-only."""
    here = Path.cwd()
    with mounted(4 if kind == "full" else 64) as remount:
        if remount is None:
            return Verdict(0, (), "mounting is not allowed")
        if kind == "full":
            with open("disk/filler", "wb", buffering=0) as file, suppress(OSError):
                file.write(b"\0" * 64_000)
        else:
            remount("ro")
        child = Child(command(words), here)
        text = complaint(child.wait(500), child.text())
        left = [path for path in Path("disk").rglob("*") if path.name.endswith(".part")]
    defects = [f"{words[0]} on a {kind} disk: {text}"] if text else []
    return Verdict(1, tuple(defects + [f"{words[0]} on a {kind} disk leaves {path.name}" for path in left]))


def slow(world: World) -> Verdict:
    """Train where each flush to the disk takes long, killed in the midst of it, and resumed."""
    here = Path.cwd()

    def slow_down() -> None:
        flush = os.fsync

        def slowly(descriptor: Any) -> None:
            time.sleep(0.3)
            flush(descriptor)

        os.fsync = slowly  # type: ignore[assignment, unused-ignore]

    whole = Child(command(train(world, str(here / "whole"))), here)
    if whole.wait(400) != 0:
        return Verdict(0, (f"it does not train: {whole.text()[-200:]}",))
    child = Child(command(train(world, str(here / "run")), before=slow_down), here)
    while child.poll() is None and not list((here / "run").rglob("*.ckpt")):
        time.sleep(0.01)
    time.sleep(0.2)
    child.kill()
    killed = child.status == -signal.SIGKILL
    again = Child(command([*train(world, str(here / "run")), "--resume"], before=slow_down), here)
    if again.wait(400) != 0:
        return Verdict(1, (f"on a slow disk it does not go on: {again.text()[-300:]}",))
    found = [f"on a slow disk: {text}" for text in differences(here / "whole", here / "run")]
    return Verdict(1 + killed, tuple(found))
