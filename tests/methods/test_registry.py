"""The registry of methods is lazy and open, and classes without options or with a constructor of their own are methods, too."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import studygroup
from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.groups import Independent
from studygroup.losses import cross_entropy
from studygroup.methods import CGL, METHODS, Baseline, Losses, Method, create_method, method_name, method_options
from studygroup.networks import NetworkFactory
from studygroup.parameters import option
from tests.methods.tiny import batch_for, built_method, optimizer_of, updates


@dataclass(eq=False, kw_only=True)
class Scaled(Baseline):
    """A method outside the package."""

    factor: float = option(2.0, above=0.0, help="Factor on the loss")

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        for losses in super().step(batch, clock):
            yield {name: self.factor * loss for name, loss in losses.items()}


class Plain(Method):
    """A method that is no dataclass and has no options."""

    def build(self, networks: NetworkFactory) -> None:
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        yield {"student0/cross_entropy": cross_entropy(self.group[0](batch.inputs), batch.labels)}


class HandWritten(Plain):
    """A method with a constructor of its own."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = rate


PATH = f"{__name__}:Scaled"


def test_importing_the_package_imports_no_method_and_no_torch() -> None:
    code = (
        "import sys, studygroup, studygroup.methods; dir(studygroup); list(studygroup.methods.METHODS);"
        "print(*(name for name in sys.modules if name == 'torch' or name.startswith('studygroup.methods.')))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["studygroup.methods.registry"]


def test_completion_shows_all_classes() -> None:
    classes = {kind.__name__ for kind in METHODS.values()}
    assert classes | {"Method", "Losses", "StageSpec"} <= set(dir(studygroup.methods))
    assert classes | {"Run", "Member", "losses", "methods", "networks", "train"} <= set(dir(studygroup))
    assert studygroup.methods.CGL is studygroup.CGL


def test_a_method_by_its_import_path() -> None:
    method = create_method(PATH, {"factor": 3})
    assert type(method) is Scaled
    assert method.options() == {"factor": 3.0}
    assert method_name(method) == PATH
    assert type(create_method(method_name(method), method.options())) is Scaled
    assert list(method_options(PATH)) == ["factor"]
    assert method_name(create_method("studygroup.methods.dml:DML")) == "dml"
    built = built_method(PATH)
    (losses,) = updates(built, optimizer_of(built), batch_for(built))
    assert losses["student0/cross_entropy"] > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.at_all:X", r"cannot import the method 'nowhere\.at_all:X' \(No module named 'nowhere'\)"),
        (f"{__name__}:Missing", "has no attribute 'Missing'"),
        (f"{__name__}:PATH", r"is a str; it must be a class derived from studygroup\.methods\.Method"),
        ("studygroup.batch:Batch", r"is the class Batch; it must be a class derived from studygroup\.methods\.Method"),
        ("dlm", "unknown method 'dlm'; did you mean"),
    ],
)
def test_names_that_are_no_methods_are_refused(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        create_method(name)


def test_an_option_out_of_range_is_refused_by_the_class_and_by_name() -> None:
    with pytest.raises(UserError, match="factor is 0; it must be above 0"):
        Scaled(factor=0.0)
    with pytest.raises(UserError, match="factor is 0; it must be above 0"):
        create_method(PATH, {"factor": 0})


def test_methods_that_are_no_dataclasses() -> None:
    assert Plain().options() == {}
    assert HandWritten().options() == {"rate": 0.5}
    assert HandWritten(0.25).options() == {"rate": 0.25}
    for kind in (Plain, HandWritten):
        built = built_method(f"{__name__}:{kind.__name__}")
        assert len(list(updates(built, optimizer_of(built), batch_for(built)))) == 1


def test_methods_can_be_copied() -> None:
    method = copy.deepcopy(CGL(students=3, modules=4))
    assert method.options() == CGL(students=3, modules=4).options()
    assert ", students=3, " in repr(method)


def test_an_option_may_have_the_name_of_a_module_method() -> None:
    assert CGL(modules=3).options()["modules"] == 3
    assert list(Method.modules(CGL())) != []
    assert callable(getattr(CGL(), "modules"))  # noqa: B009
