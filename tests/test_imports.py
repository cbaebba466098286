"""Imports point one way; what only reads files, and the command line's help, need no torch.

The imports are parsed, not executed, so that what stands in a function or under TYPE_CHECKING counts for the direction, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import studygroup

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "studygroup").rglob("*.py"))

LEAVES = {
    "errors",
    "randomness",
    "clock",
    "batch",
    "schedules",
    "kinds",
    "parameters",
    "options",
    "registry",
    "foreign",
    "lock",
    "escape",
    "terminal",
    "atomic",
    "regular",
    "devices",
    "threads",
    "allocator",
    "losses",
}
READERS = {
    "runs.layout",
    "runs.reader",
    "runs.files",
    "runs.records",
    "runs.evaluation",
    "runs.predictions",
}  # of run folders, without torch
# package: the packages and modules that it may import besides itself and the leaves
MAY_IMPORT: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "config": set(),
    "distributed": set(),
    "data": {"distributed"},
    "networks": set(),
    "groups": {"networks", "distributed"},
    "methods": {"networks", "groups"},  # not distributed: a method does not see ranks
    "runs": {"config", "data", "networks"},
    "training": {"networks", "groups", "data", "distributed", "runs", "methods.method"},
    "pipeline": {"networks", "data", "config", "distributed", "methods", "runs", "training", "pages"},
    "analysis": {"data", "networks", "groups", "runs", "training"},
    "exporting": {"config", "data", "networks", "runs"},
    "reporting": {"config", *READERS},
    "pages": {"reporting", *READERS},
    "sweep": {"distributed", "networks", "data", "config", "methods", "runs", "training", "pipeline", "reporting", "pages"},
    "advice": {"data", "config", "distributed", "runs", "training", "pipeline", "reporting", "sweep"},
    "studies": {"analysis", "config", "data", "runs", "pipeline", "training", "reporting", "pages", "sweep"},
    "commands": {
        "advice",
        "studies",
        "networks",
        "data",
        "config",
        "methods",
        "runs",
        "training",
        "pipeline",
        "sweep",
        "reporting",
        "pages",
        "exporting",
    },
    "output": {"reporting", *READERS},
    "api": {"commands", "runs"},
    "recipes": {"config", "runs.layout"},
    "command_line": {"api", "config"},
    "cli": {"api", "command_line", "output", "recipes"},
    "__main__": {"cli"},
    "": {"analysis", "api", "methods", "runs", "exporting", "losses", "networks", "data"},  # studygroup/__init__.py
}
INNER = {
    "data.images": {"data.cache"},
    "data.texts": {"data.cache"},
    "data.cache": set(),
}  # packages within a package, and which they import


@dataclass(frozen=True)
class Import:
    """An import of one module of the package or of another one; `at_once` if importing the file executes it."""

    module: str
    at_once: bool


def module_name(path: Path) -> str:
    """`studygroup.data.images.folder` for studygroup/data/folder.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path) -> Iterator[Import]:
    """All imports in a file, by absolute name; of `from a import b`, a.b if that is a module, else a."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]

    def visit(node: ast.AST, at_once: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, at_once)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                base = f"{start}.{base}" if base else start
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in MODULES else base, at_once)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from visit(statement, False)
            for statement in node.orelse:
                yield from visit(statement, at_once)
        else:
            later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_once and not later)

    yield from visit(ast.parse(path.read_text()), True)


def part(module: str) -> str:
    """Return the package or top module that a module belongs to: `data` for studygroup.data.images.folder."""
    return module.split(".")[1] if "." in module else ""


def inner(module: str) -> str:
    """Return the package within a package that a module belongs to, such as `data.images`; empty if there is none."""
    name = ".".join(module.split(".")[1:3])
    return name if name in INNER else ""


def allowed(importer: str, imported: str) -> bool:
    """Return whether a module of the package may import another."""
    own, other = part(importer), part(imported)
    if inner(importer) and inner(imported) and inner(importer) != inner(imported):
        return inner(imported) in INNER[inner(importer)]
    if other == own or other in LEAVES - ({"losses"} if own in LEAVES | {"data"} else set()):
        return True
    permitted = MAY_IMPORT[own]
    return other in permitted or any(imported.removeprefix("studygroup.") == name for name in permitted)


def loaded_by(module: str) -> dict[str, str]:
    """Everything that gets imported with a module of the package, with who imports it; other packages by their first name."""
    found: dict[str, str] = {}
    queue = [(module, "the test")]
    while queue:
        name, importer = queue.pop()
        if name in found:
            continue
        found[name] = importer
        if name not in MODULES:
            continue
        parent = name.rpartition(".")[0]
        queue += [(parent, name)] if parent else []
        inner = [item.module for item in imports(MODULES[name]) if item.at_once]
        queue += [(item if item in MODULES else item.split(".")[0], name) for item in inner]
    return found


def test_there_is_something_to_check() -> None:
    assert {"studygroup", "studygroup.api", "studygroup.cli", "studygroup.reporting.curves"} <= set(MODULES)
    assert Import("torch", True) in imports(MODULES["studygroup.batch"])
    assert Import("studygroup.commands.train", False) in imports(MODULES["studygroup.api"])
    assert "torch" in loaded_by("studygroup.batch")


def test_every_part_has_its_place_in_the_order() -> None:
    assert {part(name) for name in MODULES} - set(MAY_IMPORT) == set(), "say in MAY_IMPORT what a new part may import"


def test_every_package_is_looked_at() -> None:
    folders = {path.parent for path in FILES} - {ROOT / "studygroup"}
    assert {".".join(folder.relative_to(ROOT / "studygroup").parts) for folder in folders} <= {*MAY_IMPORT, *INNER}
    for folder in folders:
        assert module_name(folder / "__init__.py") in MODULES


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize(("folder", "beside"), [("studygroup", {"tests", "benchmarks", "studies", "recipes"}), ("benchmarks", {"tests"})])
def test_nothing_needs_what_lies_beside_it(folder: str, beside: set[str]) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        assert not {item.module.split(".")[0] for item in imports(path)} & beside, path


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_one_way(name: str) -> None:
    inside = {item.module for item in imports(MODULES[name]) if item.module in MODULES and item.module != name}
    assert {other for other in inside if not allowed(name, other)} == set()


def test_the_order_has_no_cycle() -> None:
    done: set[str] = set()
    waiting = {own: {name.split(".")[0] for name in others} for own, others in MAY_IMPORT.items() if own not in LEAVES}
    while waiting:
        free = {own for own, others in waiting.items() if others <= done | LEAVES}
        assert free, f"these import each other: {waiting}"
        done |= free
        waiting = {own: others for own, others in waiting.items() if own not in free}


def test_training_knows_only_the_contract_of_methods() -> None:
    assert not allowed("studygroup.training.fit", "studygroup.methods.cgl")
    assert not allowed("studygroup.training.fit", "studygroup.methods")
    assert allowed("studygroup.training.fit", "studygroup.methods.method")


def test_what_would_turn_the_order_around_is_refused() -> None:
    for importer, imported in [
        ("errors", "losses"),
        ("losses.logits", "networks"),
        ("data.sources", "networks.chain"),
        ("data.images.cifar", "data.texts.table"),
        ("data.texts.table", "data.images.folder"),
        ("data.cache.entries", "data.images.folder"),
        ("networks.chain", "groups"),
        ("groups.group", "methods.method"),
        ("methods.cgl", "training.fit"),
        ("methods.cgl", "distributed.context"),
        ("pipeline.stages", "api"),
        ("pipeline.train", "sweep.comparison"),
        ("pipeline.train", "commands.train"),
        ("training.fit", "pipeline.stages"),
        ("runs.member", "training.fit"),
        ("runs.member", "exporting.write"),
        ("exporting.write", "commands.export"),
        ("exporting.write", "sweep.comparison"),
        ("sweep.worker", "commands.train"),
        ("reporting.leaderboard", "runs.member"),
        ("reporting.leaderboard", "training.fit"),
    ]:
        assert not allowed(f"studygroup.{importer}", f"studygroup.{imported}"), f"{importer} -> {imported}"


def test_asking_the_package_for_what_is_no_class_takes_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `from studygroup import config` does before it looks for a module of that name."""
    monkeypatch.setattr("studygroup.import_module", lambda name: pytest.fail(f"imports {name}"))
    with pytest.raises(AttributeError, match="no attribute 'config_'"):
        _ = studygroup.config_


@pytest.mark.parametrize(
    "name",
    [
        "studygroup",
        "studygroup.cli",
        "studygroup.api",
        "studygroup.config",
        "studygroup.options",
        "studygroup.registry",
        "studygroup.runs.reader",
        "studygroup.runs.layout",
        "studygroup.runs.folder",
        "studygroup.parameters",
        "studygroup.output",
        "studygroup.reporting",
        "studygroup.pages",
    ],
)
def test_loading_takes_no_torch(name: str) -> None:
    loaded = loaded_by(name)
    heavy = {other: loaded[other] for other in ("torch", "numpy", "sklearn", "matplotlib", "rich") if other in loaded}
    assert heavy == {}
