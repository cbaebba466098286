"""A small table of real texts that every installation has: docstrings, and the package that they are from."""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from studygroup.atomic import write_atomically

PACKAGES = ("matplotlib", "sklearn", "torch")
"""Packages that this one needs."""
EACH = 250
"""Texts of each."""
SHORTEST = 20
"""Characters of a text, at least."""


def write_docstrings(path: Path) -> Path:
    """Write a table with the columns `text` and `label`, unless it is there; return its path."""
    if not path.is_file():
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["text", "label"])
        for package in PACKAGES:
            writer.writerows((text, package) for text in first_paragraphs(package, EACH))
        write_atomically(path, table.getvalue().encode())
    return path


def first_paragraphs(package: str, count: int) -> list[str]:
    """Return the first paragraphs of docstrings of a package, which is read and not imported."""
    found: dict[str, None] = {}
    for text in docstrings(package):
        paragraph = " ".join(text.split("\n\n")[0].split())
        if len(paragraph) >= SHORTEST:
            found[paragraph] = None
        if len(found) == count:
            break
    return list(found)


def docstrings(package: str) -> Iterator[str]:
    """Yield the docstrings of a package's functions and classes, in the order of its files."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        if "test" in path.as_posix().removeprefix(Path(spec.origin).parent.as_posix()):
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                yield text
