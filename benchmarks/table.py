"""Write a page from the JSON files of the benchmarks, and `limits.md`.

python benchmarks/table.py runs/benchmarks --out docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import cells, describe

PAGE = """\
# Performance

Speed, and the cost of a group. This page is generated from the results of [`benchmarks/`](../benchmarks/all.py); do not edit it.

- A figure in `x` is a ratio of two medians. Both sides are measured in one process, in turn (A, B, A, B, ... after a warm-up), so that a
  machine that slows down in between slows both. The quartiles are those of the ratio over the repetitions. Other figures are medians.
- `reached` compares the measured figure with its target. Rows without a target are for information.
- To measure again: `{again}`. One program: `python benchmarks/NAME.py`. Your own data and network: `studygroup benchmark DATA`.

{machine}

**{reached} of {targets} targets reached.** [LOG.md](../LOG.md) explains by profiles why the others were not.
"""
AGAIN = "python benchmarks/all.py && python benchmarks/table.py runs/benchmarks --out docs/performance.md"
ORDER = (
    *("routing", "group_cost", "phases", "orc", "allocator", "trainer", "dml", "augment"),
    *("data", "texts", "text_networks", "start", "memory", "ranks"),
)
LIMITS = Path(__file__).with_name("limits.md")  # what no program measures
OWN = ("command",)  # entries of the machine's description that differ between programs


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the page in Markdown.

    Raises:
        ValueError: there is no result, or one is from a quick run.
    """
    if not results:
        raise ValueError("there are no results; run benchmarks/all.py first")
    if quick := [result["program"] for result in results if result["quick"]]:
        raise ValueError(f"{', '.join(quick)}: run with --quick, which measures nothing; run again without")
    results = sorted(results, key=lambda result: (ORDER.index(result["program"]) if result["program"] in ORDER else 99, result["program"]))
    machines = [machine_text(result["machine"]) for result in results]
    verdicts = [found["reached"] for result in results for found in result["rows"] if found["reached"] is not None]
    same = len(set(machines)) == 1
    text = PAGE.format(again=AGAIN, machine=machines[0] if same else "", reached=sum(verdicts), targets=len(verdicts))
    sections = [section(result, "" if same else machine) for result, machine in zip(results, machines, strict=True)]
    return text + "".join(sections) + LIMITS.read_text(encoding="utf-8")


def machine_text(machine: Mapping[str, Any]) -> str:
    """Describe the machine, without entries that belong to one program."""
    where = describe({name: value for name, value in machine.items() if name not in OWN} | {"command": ""}).strip()
    return f"Machine: {where}; Python {machine['python']}, {machine['system'].partition('-')[0]}."


def section(result: Mapping[str, Any], machine: str) -> str:
    """Return the section of one program."""
    title, _, rest = result["about"].partition("\n\n")
    lines = ["", f"## {title.rstrip('.')}", "", *([rest, ""] if rest else []), *([machine, ""] if machine else [])]
    lines += ["| | measured | quartiles | target | | |", "|---|---:|---:|---:|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(found))} |" for found in result["rows"]]
    lines += ["", f"`{result['machine']['command']}`: {result['repeats']} repetitions, {result['minutes']} minutes.", ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the JSON files")
    parser.add_argument("--out", type=Path, help="file for the page (default: standard output)")
    given = parser.parse_args()
    try:
        text = page([json.loads(path.read_text(encoding="utf-8")) for path in sorted(given.folder.glob("*.json"))])
    except ValueError as error:
        print(f"error: {given.folder}: {error}", file=sys.stderr)
        return 1
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
