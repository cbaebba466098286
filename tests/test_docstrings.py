"""The examples in docstrings: they run, and every public function has one."""

from __future__ import annotations

import doctest
import inspect
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import studygroup as sg
from docs.site.conf import REFERENCE

WITH_EXAMPLES = ("functions", "runs", "errors", "losses", "networks", "analysis", "data", "options")
SLOW = ("compare",)  # which starts other processes
PARSER = doctest.DocTestParser()


def public() -> Iterator[tuple[str, Any]]:
    """Yield the public names with what they name; of modules (`analysis`, `losses.targets`) their public functions."""
    for part, names in REFERENCE.items():
        for name in names:
            value = reduce(getattr, name.split("."), sg)
            if isinstance(value, ModuleType):
                found = inspect.getmembers(value, inspect.isfunction)
                yield from ((f"{name}.{key}", item) for key, item in found if item.__module__ == value.__name__ and key[0] != "_")
            elif part in WITH_EXAMPLES or name == "Method":
                yield name, value


DOCUMENTED = {name: value for name, value in public() if ">>>" in (getattr(value, "__doc__", "") or "")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with what the examples take as given: `digit.png`, and the runs `runs/digits` of cgl and `runs/orc`."""
    path = tmp_path_factory.mktemp("docstrings")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("STUDYGROUP_CACHE", str(path / "cache"))
        short: dict[str, Any] = {"epochs": 2, "train_size": 128, "progress": False}
        sg.train("digits", student="resnet8", method=sg.CGL(students=2), out="runs/digits", **short)
        sg.train("digits", student="resnet8", method="orc", teacher="resnet14", teacher_epochs=1, out="runs/orc", **short)
        Image.fromarray(np.uint8(load_digits().images[0] * 255 / 16)).save("digit.png")
        yield path


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in DOCUMENTED])
def test_the_example_runs(name: str, folder: Path) -> None:
    test = PARSER.get_doctest(DOCUMENTED[name].__doc__, {}, name, None, None)
    assert test.examples
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert not report, "".join(report)


def test_every_public_function_has_an_example() -> None:
    functions = [name for name, value in public() if inspect.isroutine(value)]
    assert len(functions) > 60
    assert not [name for name in functions if name not in DOCUMENTED]


def test_the_classes_that_a_reader_begins_with_have_examples() -> None:
    assert {"Run", "Member", "ExportedModel", "Method", "UserError", "networks.Chain", "data.Batches"} <= DOCUMENTED.keys()


def test_an_example_that_prints_something_else_is_found() -> None:
    test = PARSER.get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner().run(test, out=lambda text: sys.stdout.write("")).failed == 1
