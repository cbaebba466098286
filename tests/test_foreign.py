"""Import paths of code that is no part of the package: which they are, what a file needs to name one, and where it may lie."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from studygroup.errors import UserError
from studygroup.foreign import NAMING, allow_flag, check_allowed, check_import_paths, code_in, import_code, is_import_path
from studygroup.networks.factory import build_network
from studygroup.options import BenchmarkOptions, CompareOptions, TrainOptions
from studygroup.parameters import parameters_of
from tests.own_code import Project, project

__all__ = ["project"]
CLASSES: dict[str, Any] = {"num_classes": 3, "in_channels": 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mine:make", True),
        ("package.module:Class.method", True),
        ("resnet8", False),
        ("timm:resnet18", False),
        ("hf:folder", False),
        (".:x", False),
        ("mine:", False),
        (":make", False),
        ("a..b:c", False),
        ("mine:make:more", False),
        ("mine:make()", False),
        ("cifar10:/data/cifar", False),
        (None, False),
        (3, False),
    ],
)
def test_what_is_an_import_path(name: object, expected: bool) -> None:
    assert is_import_path(name) is expected


def test_code_is_found_wherever_options_may_name_it() -> None:
    options = {
        "student": "a:a",
        "peers": ["resnet8", "b:b"],
        "teacher": "c:c",
        "method": "d:D",
        "method_options": {"assistants": ["e:e", "a:a"], "deep": {"deeper": "f:f"}},
        "methods": ("g:G", "dml"),
        "variants": {"one": {"method": {"name": "h:H", "network": "i:i"}, "text_columns": ["x:y"]}, "none": None},
        "data": "cifar10:archive",
        "text_columns": ["x:y"],
        "epochs": 3,
    }
    assert code_in(options) == ["a:a", "b:b", "c:c", "d:D", "e:e", "f:f", "g:G", "h:H", "i:i"]
    assert code_in({"method": object(), "teacher": Path("runs/x"), "variants": "nonsense"}) == []


def test_no_option_that_takes_an_import_path_is_forgotten() -> None:
    options = {name: item for group in (TrainOptions, BenchmarkOptions, CompareOptions) for name, item in parameters_of(group).items()}
    assert {name for name, item in options.items() if "package.module:" in item.help} - {"allow_code"} <= set(NAMING)
    assert set(NAMING) < set(options)


def test_the_error_offers_the_flag() -> None:
    check_allowed(["a:a"], ["b:b", "a:a"], "file")
    message = "card.json names the code a:a, c:c, which a file may not run by itself; if you trust it, add --allow-code a:a c:c (in Python"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        check_allowed(["a:a", "b:b", "c:c"], {"b:b"}, "card.json")
    assert allow_flag([]) == ""
    assert allow_flag(["a:a", "b:b", "a:a"]) == " --allow-code a:a b:b"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["mine:make", "cat.jpg"],
            "allow_code has 'cat.jpg'; give import paths such as package.module:function, and other arguments before",
        ),
        (["timm:resnet18"], "allow_code has 'timm:resnet18'"),
        ([3], "allow_code has 3"),
    ],
)
def test_what_cannot_be_allowed(paths: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_import_paths(paths)
    with pytest.raises(UserError, match=re.escape(message)):
        TrainOptions(data="digits", allow_code=paths)


def test_a_text_is_no_list_of_paths_except_as_an_option() -> None:
    with pytest.raises(UserError, match=r"allow_code is 'mine:make'; give a list of import paths, as in allow_code=\['mine:make'\]"):
        check_import_paths("mine:make")
    assert TrainOptions(data="digits", allow_code="mine:make").allow_code == ("mine:make",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sys:exit", "'sys:exit' names no network: sys is in Python's standard library; if it is a module of yours, rename it"),
        ("os:abort", "os is in Python's standard library"),
        ("builtins:dict", "builtins is in Python's standard library"),
        ("antigravity:fly_id", "antigravity is in Python's standard library"),
        (".:x", "'.:x' names no network; write package.module:attribute"),
        ("mine:", "'mine:' names no network"),
        (
            "torch.nn:Linear",
            "torch.nn:Linear cannot make a network from num_classes, in_channels (missing a required argument: 'in_features')",
        ),
        ("torch:zeros", "'torch:zeros' is a builtin_function_or_method; it must be a function, or a class derived from torch.nn.Module"),
        ("torch:Tensor.add", "'torch:Tensor.add' is a method_descriptor"),
        ("yaml:SafeLoader", "'yaml:SafeLoader' is the class SafeLoader"),
        ("yaml:__version__", "'yaml:__version__' is a str"),
        ("torch.nn:Module", "torch.nn:Module fails with TypeError (Module.__init__() got an unexpected keyword argument"),
        ("mine:leaves", "mine:leaves fails with SystemExit (0); correct it, or take another network"),
        ("mine:breaks", "mine:breaks fails with ZeroDivisionError (division by zero)"),
        ("mine:wants", "mine:wants cannot make a network from num_classes, in_channels (missing a required argument: 'width'); give its"),
        ("mine:missing", "cannot import the network 'mine:missing' (module 'mine' has no attribute 'missing'); write"),
        (
            "nowhere.at_all:make",
            "(No module named 'nowhere'); write package.module:attribute, with the package installed, in PYTHONPATH or in",
        ),
        ("mine.inner:make", "No module named 'mine.inner'"),
        ("wrong:make", "cannot import the network 'wrong:make': its module fails (SyntaxError: "),
        ("quits:make", "cannot import the network 'quits:make': its module fails (SystemExit: 0); correct it"),
        ("raises:make", "cannot import the network 'raises:make': its module fails (KeyError: 'mode'); correct it"),
    ],
)
def test_names_of_no_network_are_refused(project: Project, name: str, message: str) -> None:
    project.write(
        "mine",
        "import sys\ndef leaves(): sys.exit(0)\ndef breaks(num_classes): return 1 / 0\ndef wants(width, num_classes): return None",
    )
    project.write("wrong", "def make(:")
    project.write("quits", "raise SystemExit(0)")
    project.write("raises", "{}['mode']")
    with pytest.raises(UserError, match=re.escape(message)):
        build_network(name, **CLASSES)


def test_the_working_directory_is_searched_last(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.path)
    project.write("mine", "where = __file__")
    project.write("yaml", "raise SystemExit('the working directory hides an installed package')")
    monkeypatch.delitem(sys.modules, "yaml")
    assert import_code("mine:where", "network") == str(project.folder / "mine.py")
    assert import_code("yaml:safe_load", "network")
    assert sys.path == [*before, str(project.folder)]
    import_code("mine:where", "network")
    assert sys.path == [*before, str(project.folder)]


def test_a_working_directory_that_is_gone(project: Project) -> None:
    project.folder.rmdir()
    with pytest.raises(UserError, match="No module named 'mine'"):
        import_code("mine:make", "network")


@pytest.mark.parametrize("name", ["evil:make", "package.evil:make", "spaces.evil:make", "linked:make"])
def test_code_in_a_run_folder_is_not_executed(project: Project, name: str) -> None:
    run = project.folder / "run"
    for folder in (run / "package", run / "spaces", project.folder / "elsewhere"):
        folder.mkdir(parents=True)
    (run / "package" / "__init__.py").write_text(project.marking())
    for path in (run / "evil.py", run / "package" / "evil.py", run / "spaces" / "evil.py", project.folder / "elsewhere" / "linked.py"):
        path.write_text(project.marking())
    (run / "linked.py").symlink_to(project.folder / "elsewhere" / "linked.py")
    (project.folder / "link").symlink_to(run)
    for way in (run, project.folder / "link"):
        sys.path.insert(0, str(way))
        for outside in (run, project.folder / "link", Path("run")):
            with pytest.raises(UserError, match=r"inside the run folder .*, from which no code is run; if it is yours, move it elsewhere"):
                import_code(name, "network", outside=outside)
        sys.path.remove(str(way))
    assert not project.marker.exists()
    sys.path.insert(0, str(run))
    assert import_code(name, "network")
    assert project.marker.exists(), "the test can fail"
    with pytest.raises(UserError, match="from which no code is run"):  # imported, but not called
        import_code(name, "network", outside=run)


def test_a_package_that_lies_partly_in_a_run_folder(project: Project) -> None:
    """The parent is executed, as the caller allows; what it leads to is not."""
    (project.folder / "run").mkdir()
    (project.folder / "run" / "evil.py").write_text(project.marking())
    project.write("package", f"__path__ = [{str(project.folder / 'run')!r}]")
    with pytest.raises(UserError, match=r"^package.evil is .*evil.py, inside the run folder"):
        import_code("package.evil:make", "network", outside=project.folder / "run")
    assert not project.marker.exists()


def test_a_working_directory_in_a_run_folder_is_not_searched(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "inner").mkdir()
    (project.folder / "inner" / "evil.py").write_text(project.marking())
    monkeypatch.chdir(project.folder / "inner")
    before = list(sys.path)
    with pytest.raises(UserError, match="No module named 'nowhere'"):
        import_code("nowhere:make", "network", outside=project.folder)
    with pytest.raises(UserError, match=r"^evil is .*inner/evil.py, inside the run folder"):
        import_code("evil:make", "network", outside=project.folder)
    assert sys.path == before
    assert not project.marker.exists()
