"""`import studygroup`: what it offers, what it imports, and what type checkers know of it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import studygroup as sg
from studygroup.parameters import parameters_of

ROOT = Path(__file__).parent.parent
MISTAKES = """\
import studygroup as sg

run = sg.train("digits", method=sg.CGL(students=8), epochs=3, out="runs/x")
name: str = run.best.classes[0]
sg.train("digits", epoch=3)
sg.train("digits", epochs="3")
sg.train("digits", optimizer="sdg")
sg.CGL(student=8)
sg.CGL(students="8")
"""


def modules_after(code: str) -> set[str]:
    """Return the modules that a fresh process has imported after some code."""
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(shown.stdout.split())


def test_importing_the_package_imports_little() -> None:
    modules = modules_after("import studygroup")
    assert not modules & {"torch", "numpy", "yaml", "rich", "sklearn", "PIL", "matplotlib", "docstring_parser"}
    assert sum(name.startswith("studygroup") for name in modules) < 18


@pytest.mark.parametrize("name", ["losses", "networks", "methods", "data", "options"])
def test_packages_are_there_when_they_are_used(name: str) -> None:
    assert f"studygroup.{name}" in modules_after(f"import studygroup\nstudygroup.{name}")


def test_losses_need_no_networks_or_methods() -> None:
    modules = modules_after("import studygroup\nstudygroup.losses.soft_kl")
    assert "torch" in modules
    assert not {"studygroup.networks", "studygroup.methods", "studygroup.training"} & modules


def test_dir_lists_what_is_public() -> None:
    names = dir(sg)
    assert {"train", "compare", "CGL", "ORC", "Run", "Member", "UserError", "losses", "networks", "methods"} <= set(names)
    assert not [name for name in names if name.startswith("_") or name in ("annotations", "import_module", "TYPE_CHECKING", "Any")]
    assert all(hasattr(sg, name) for name in names)


@pytest.mark.parametrize("name", ["train", "benchmark", "compare", "evaluate", "predict", "export", "list_names", "report"])
def test_functions_show_all_their_options(name: str) -> None:
    function = getattr(sg, name)
    known = parameters_of(function.options)
    assert list(inspect.signature(function).parameters) == list(known)
    documentation = inspect.getdoc(function) or ""
    assert all(f"    {option}: {parameter.help}" in documentation for option, parameter in known.items())
    assert all(parameter.help for parameter in known.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accumulate", r"train\(\): accumulate is called microbatches now"),
        ("epoch", r"train\(\): unknown option 'epoch'; did you mean epochs\?"),
    ],
)
def test_an_option_that_does_not_exist(name: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        sg.train("digits", **{name: 3})  # type: ignore[arg-type]


def test_type_checkers_find_mistakes(tmp_path: Path) -> None:
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    arguments = ["--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache"), str(tmp_path / "mistakes.py")]
    found = subprocess.run([sys.executable, "-m", "mypy", *arguments], capture_output=True, text=True, check=False, cwd=ROOT).stdout
    lines = [int(line.split(":")[1]) for line in found.splitlines() if ": error:" in line]
    assert lines == [5, 6, 7, 8, 9], found
