"""Runs the campaign: `python -m tests.campaign --minutes 30 --parts kill,inputs`, or `make campaign MINUTES=30 PARTS=kill,inputs`.

Each part has a share of the time; what one does not need goes to the next. Counts are printed, and appended to docs/reliability.md unless
`--no-record` is given. The exit code is 1 if there are defects.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from tests.campaign import cluster, disk, fuzz, inputs, kill, leaks, ranks
from tests.campaign.process import Case, run_cases
from tests.campaign.world import World, preload

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
JOBS = 3


@dataclass
class Part:
    """A part of the campaign and its counts.

    Attributes:
        about: what it tries, for the page.
        cases: yields its cases.
        share: of the time.
        jobs: cases at once.
    """

    about: str
    cases: Callable[[World], Iterator[Case]]
    share: float
    jobs: int = JOBS
    tried: int = 0
    defects: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0


PARTS: dict[str, Part] = {
    "inputs": Part("bad inputs that end in one clear line", inputs.cases, 0.25),
    "kill": Part("SIGKILLs of every method and of compare, resumed to the same bytes", kill.cases, 0.30),
    "fuzz": Part("random bytes and opcodes for every reader", fuzz.cases, 0.17),
    "disk": Part("disks that are full, read-only or slow", disk.cases, 0.08),
    "ranks": Part("ranks and launchers killed, resumed to the same bytes", ranks.cases, 0.06),
    "cluster": Part("a node of a Ray cluster killed", cluster.cases, 0.06, jobs=1),
    "leaks": Part("steps with flat memory and file descriptors", leaks.cases, 0.08),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="time for all parts")
    parser.add_argument("--parts", default=",".join(PARTS), help="parts to run, separated by commas")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices; 0 for one of today")
    parser.add_argument("--folder", help="to work in and to keep the folders of defects; a temporary one by default")
    parser.add_argument("--no-record", action="store_true", help="do not append the counts to docs/reliability.md")
    given = parser.parse_args(arguments)
    names = [name for name in given.parts.split(",") if name]
    if strange := [name for name in names if name not in PARTS]:
        parser.error(f"there is no part {strange[0]}; the parts are {', '.join(PARTS)}")
    started = time.monotonic()
    folder = Path(given.folder or tempfile.mkdtemp(prefix="studygroup-campaign-")).resolve()
    world = World(folder, given.seed or int(f"{today():%Y%m%d}"), given.minutes, commit())
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "STUDYGROUP_CACHE": str(world.cache)}
    preload()
    print(f"campaign of {given.minutes:g} minutes, seed {world.seed}, in {folder}", flush=True)
    world.prepare()
    parts = {name: PARTS[name] for name in names}
    end = started + 60 * given.minutes
    for number, (name, part) in enumerate(parts.items()):
        left = [other.share for other in list(parts.values())[number:]]
        begun = time.monotonic()
        until = begun + max(end - begun, 0) * left[0] / sum(left)
        run_part(name, part, world, until)
        part.seconds = time.monotonic() - begun
        print(line(name, part), flush=True)
    print(table(parts))
    if not given.no_record:
        record(parts, world)
    if not any(part.defects for part in parts.values()) and not given.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if any(part.defects for part in parts.values()) else 0


def today() -> date:
    """Return the date."""
    return datetime.now(UTC).date()


def run_part(name: str, part: Part, world: World, until: float) -> None:
    """Run the cases of a part until its time is over."""
    for case, verdict in run_cases(part.cases(world), world.folder / name, until=until, jobs=part.jobs):
        part.tried += verdict.tried
        part.defects += verdict.defects
        for defect in verdict.defects:
            print(f"DEFECT {name} {case}: {defect}", flush=True)
        if verdict.skipped:
            part.skipped.append(f"{case}: {verdict.skipped}")


def line(name: str, part: Part) -> str:
    """Return a part's counts in words."""
    skipped = f", skipped: {'; '.join(sorted(set(part.skipped))[:3])}" if part.skipped else ""
    return f"{name}: {part.tried} tried, {clean(part)} clean, {len(part.defects)} defects, {part.seconds / 60:.1f} minutes{skipped}"


def clean(part: Part) -> int:
    """Return how many of the things that a part tried were clean."""
    return max(part.tried - len(part.defects), 0)


def table(parts: dict[str, Part]) -> str:
    """Return the counts as a table of Markdown."""
    rows = ["| part | tried | clean | defects |", "|---|---:|---:|---:|"]
    for name, part in parts.items():
        note = f" (skipped: {'; '.join(sorted(set(part.skipped))[:2])})" if part.skipped else ""
        rows.append(f"| {name}: {part.about}{note} | {part.tried:,} | {clean(part):,} | {len(part.defects)} |")
    return "\n".join(rows)


def record(parts: dict[str, Part], world: World, page: Path = PAGE) -> None:
    """Append the counts to the page, with date, commit and machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} CPU cores, {memory:.0f} GB of memory, Python {sys.version.split()[0]}"
    head = f"\n### {today().isoformat()}, {world.commit}\n\n{machine}; {world.minutes:g} minutes, seed {world.seed}.\n\n"
    with page.open("a", encoding="utf-8") as file:
        file.write(head + table(parts) + "\n")


def commit() -> str:
    """Return the commit that is attacked."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "an unknown commit"


if __name__ == "__main__":
    sys.exit(main())
