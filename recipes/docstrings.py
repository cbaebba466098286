"""Make a table of texts from what is installed: the first sentences of docstrings, labelled with the library that they are from.

    python recipes/docstrings.py sentences.csv
    python recipes/docstrings.py sentences.csv --libraries sklearn,matplotlib --each 400

The sources are read, not imported. Sentences that name their library, and repetitions, are left out. Columns: text, label.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = ("sklearn", "matplotlib", "numpy")
SHORTEST = 20  # characters of a sentence
SEED = 0


def sentences(library: str) -> Iterator[str]:
    """Yield the first sentence of each docstring of functions and classes in a library's sources."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{library} is not installed")
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        if {"tests", "testing", "test"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError:  # of a newer Python
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node)):
                yield " ".join(doc.split("\n\n")[0].split())


def table(libraries: tuple[str, ...], each: int) -> list[tuple[str, str]]:
    """Return rows (text, label), `each` of every library, in random order."""
    drawn = random.Random(SEED)
    rows = []
    seen: set[str] = set()
    for library in libraries:
        found = [text for text in sentences(library) if len(text) >= SHORTEST and library not in text.lower()]
        fresh = sorted(set(found) - seen)
        seen.update(fresh)
        if len(fresh) < each:
            raise SystemExit(f"{library} has {len(fresh)} sentences; give a smaller --each")
        rows += [(text, library) for text in drawn.sample(fresh, each)]
    drawn.shuffle(rows)
    return rows


def main() -> None:
    """Write the table that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="separated by commas (default: %(default)s)")
    parser.add_argument("--each", type=int, default=800, help="sentences of each library (default: %(default)s)")
    given = parser.parse_args()
    libraries = tuple(given.libraries.split(","))
    rows = table(libraries, given.each)
    with given.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    print(f"{given.out}: {len(rows):,} sentences of {', '.join(libraries)}")


if __name__ == "__main__":
    main()
