"""Run all benchmarks, one after the other, each in its own process, and save the results of each as JSON.

python benchmarks/all.py --out runs/benchmarks && python benchmarks/table.py runs/benchmarks --out docs/performance.md
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(__file__).parent
NO_PROGRAMS = ("all", "common", "table")


def programs() -> list[str]:
    """Return the names of the programs."""
    return sorted(path.stem for path in HOME.glob("*.py") if path.stem not in NO_PROGRAMS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), metavar="FOLDER", help="for the JSON files")
    parser.add_argument("--only", nargs="+", choices=programs(), default=programs(), metavar="NAME", help=", ".join(programs()))
    parser.add_argument("--repeats", type=int, help="of every program, instead of its own number")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether the programs work")
    given = parser.parse_args()
    more = [*(["--quick"] if given.quick else []), *(["--repeats", str(given.repeats)] if given.repeats is not None else [])]
    failed = []
    for number, name in enumerate(given.only, start=1):
        print(f"[{number}/{len(given.only)}] {time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        program = str(Path(HOME.name) / f"{name}.py")
        out = os.path.relpath(given.out / f"{name}.json", HOME.parent)  # relative, as the page shows it
        words = [sys.executable, program, "--json", out, *more]
        if subprocess.run(words, cwd=HOME.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
