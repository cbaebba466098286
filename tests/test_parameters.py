"""Options: their types from annotations, parsing and checks, and the functions that are made from option groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, Literal

import pytest
from torch import nn

from studygroup import api
from studygroup.command_line import COMMANDS
from studygroup.errors import UserError
from studygroup.kinds import Kind
from studygroup.methods import DML
from studygroup.options import (
    BenchmarkOptions,
    CompareOptions,
    Options,
    PredictOptions,
    RunOptions,
    TrainOptions,
    checked,
    keyword_function,
    plain,
)
from studygroup.parameters import Bounds, check_values, kind_of, option, parameters_of, show


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("str", Kind("text")),
        ("str | Path", Kind("text")),
        ("str | nn.Module", Kind("text")),
        ("str | Path | nn.Module | None", Kind("text", optional=True)),
        ("float | None", Kind("float", optional=True)),
        ("bool", Kind("bool")),
        ("Literal['a', 'b']", Kind("choice", choices=("a", "b"))),
        ("Sequence[int]", Kind("list", item=Kind("int"))),
        ("Sequence[str | Path]", Kind("list", item=Kind("text"))),
        ("Mapping[str, float] | None", Kind("map", optional=True, item=Kind("float"))),
        (int, Kind("int")),
    ],
)
def test_annotations(annotation: object, kind: Kind) -> None:
    assert kind_of(annotation) == kind


def test_aliases_of_annotations() -> None:
    assert kind_of("OnError", "studygroup.options.groups") == Kind("choice", choices=("stop", "skip"))
    assert kind_of("OnError | None", "studygroup.options.groups") == Kind("choice", optional=True, choices=("stop", "skip"))
    assert kind_of("Sequence[OnError]", "studygroup.options.groups") == Kind("list", item=Kind("choice", choices=("stop", "skip")))


def test_values_from_python_are_checked_against_their_choices() -> None:
    def function(kind: Literal["a", "b"], other: Literal["c"] | None = None, *rest: nn.Module) -> None: ...

    known = parameters_of(function)
    check_values(known, {"kind": "a", "other": None, "rest": ()})
    check_values(known, {"other": "c"})
    for given in ({"kind": "c", "other": "c"}, {"kind": "b", "other": "a"}, {"kind": None, "other": "c"}):
        with pytest.raises(UserError, match=r"^(kind is (None|'c'); it must be a or b|other is 'a'; it must be c)"):
            check_values(known, given)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        ({"at_least": 1}, (1, 2.5), (0, -1), "at least 1"),
        ({"above": 0}, (1e-9,), (0, -1), "above 0"),
        ({"at_least": 0, "below": 1}, (0, 0.9), (1, -0.1), "at least 0 and below 1"),
        ({"at_least": 2, "at_most": 16_000}, (2, 16_000), (1, 16_001), "at least 2 and at most 16,000"),
        ({}, (-1e9, 1e9), (), ""),
    ],
)
def test_ranges(bounds: dict[str, Any], inside: tuple[float, ...], outside: tuple[float, ...], words: str) -> None:
    assert Bounds(**bounds).describe() == words

    @dataclass
    class Group:
        one: float | None = option(None, help="", **bounds)
        several: tuple[float, ...] = option((), help="", **bounds)
        named: Mapping[str, float] = option({}, help="", **bounds)

    known = parameters_of(Group)
    check_values(known, {"one": None, "several": (), "named": {}})
    for number in inside:
        check_values(known, {"one": number, "several": (number,), "named": {"a": number}})
    for number in outside:
        for name, value in (("one", number), ("several", (inside[0], number)), ("named", {"a": number})):
            with pytest.raises(UserError) as caught:
                check_values(known, {name: value})
            assert str(caught.value) == f"{name} is {number:g}; it must be {words}"


@pytest.mark.parametrize("annotation", ["nn.Module", "None", "int | str", "Callable[[int], int]"])
def test_annotations_without_a_kind(annotation: str) -> None:
    with pytest.raises(TypeError):
        kind_of(annotation)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind("int"), "3", 3),
        (Kind("float"), "1e-3", 0.001),
        (Kind("float", optional=True), "none", None),
        (Kind("bool"), "true", True),
        (Kind("list", item=Kind("int")), "60,120, 160", (60, 120, 160)),
        (Kind("list", item=Kind("int")), "", ()),
        (Kind("list", item=Kind("text")), "a@large, b@x=1,y=2,c,d@z=3", ("a@large", "b@x=1,y=2", "c", "d@z=3")),
        (Kind("map", item=Kind("float")), "pivot=0.1,student0=1", {"pivot": 0.1, "student0": 1.0}),
        (Kind("map", item=Kind("any")), "a.x=[1, 2],b=3 c=d", {"a.x": "[1, 2]", "b": "3", "c": "d"}),
        (Kind("map", item=Kind("any")), "", {}),
        (Kind("text"), "none", "none"),
    ],
)
def test_text_is_parsed(kind: Kind, text: str, value: object) -> None:
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (Kind("int"), "many", "'many' is not a whole number"),
        (Kind("int"), "1.5", "'1.5' is not a whole number"),
        (Kind("float"), "nan", "not a finite number"),
        (Kind("float"), "none", "not a number"),
        (Kind("bool"), "maybe", "not true or false"),
        (Kind("choice", choices=("sgd", "adam")), "sdg", "did you mean sgd"),
        (Kind("map", item=Kind("float")), "pivot", "not NAME=VALUE"),
        (Kind("map", item=Kind("float")), "pivot=slow", "'slow' is not a number"),
    ],
)
def test_invalid_text_is_refused(kind: Kind, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind.parse(text)


@pytest.mark.parametrize("options", [options for _, options in COMMANDS.values()])
def test_every_option_of_every_command_is_documented(options: type[Options]) -> None:
    parameters = parameters_of(options)
    assert parameters
    assert [name for name, parameter in parameters.items() if not parameter.help] == []


def test_defaults_are_shown_as_they_would_be_typed() -> None:
    assert [show(value) for value in (True, 0.0005, ("a", "b"), {"pivot": 0.1}, 3)] == ["yes", "0.0005", "a,b", "pivot=0.1", "3"]


@dataclass(frozen=True, kw_only=True)
class Parent(Options):
    title = "parent"

    size: int = option(3, at_least=1, help="Size in whole numbers")
    colour: Literal["red", "blue"] = option("red", help="Colour", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class Child(Parent):
    title = "child"

    speed: float | None = option(None, help="Speed", default_help="as fast as possible")
    colour: Literal["red", "blue"] = option("blue", help="Colour of the child")
    widths: Mapping[str, int] = option({"a": 1}, help="Widths")


def test_options_are_inherited_and_may_be_redefined() -> None:
    known = parameters_of(Child)
    assert {name: (item.default, item.help, item.group, item.affects) for name, item in known.items()} == {
        "size": (3, "Size in whole numbers", "parent", "result"),
        "colour": ("blue", "Colour of the child", "child", "result"),
        "speed": (None, "Speed", "child", "result"),
        "widths": ({"a": 1}, "Widths", "child", "result"),
    }
    assert known["size"] == parameters_of(Parent)["size"]
    assert known["speed"].default_note() == " (default: as fast as possible)"
    assert Child().widths is not Child().widths


def test_options_are_frozen_checked_and_copied() -> None:
    child = Child(size=4, speed=2.0)
    with pytest.raises(FrozenInstanceError):
        child.size = 5  # type: ignore[misc]
    with pytest.raises(UserError, match="size is 0; it must be at least 1"):
        Child(size=0)
    assert Parent.of(child) == Parent(size=4, colour="blue")
    assert Child.of(Parent(size=7), speed=1.0) == Child(size=7, colour="red", speed=1.0)
    assert Child.from_plain(child.plain()) == child
    assert child.plain() == {"size": 4, "colour": "blue", "speed": 2.0, "widths": {"a": 1}}
    with pytest.raises(UserError, match="unknown option 'sizes'; did you mean size"):
        Child.from_plain({"sizes": 3})


def test_a_text_for_a_list_is_read_as_on_the_command_line() -> None:
    milestones: Any = "60,120"
    options = TrainOptions("t.csv", text_columns="title,text", schedule="milestones", milestones=milestones, peers="resnet8")
    assert (options.text_columns, options.milestones, options.peers) == (("title", "text"), (60, 120), ("resnet8",))
    assert PredictOptions("run", "one text, with a comma").inputs == ("one text, with a comma",)
    with pytest.raises(UserError, match="milestones is 'a'"):
        TrainOptions("t.csv", milestones="a")  # type: ignore[arg-type]


def test_numbers_that_size_memory_are_bounded() -> None:
    for students in (10**9, 10**400):
        with pytest.raises(UserError, match=r"students is .*; it must be at least 1 and at most 1,000"):
            DML(students=students)


def test_objects_become_notes_that_cannot_be_loaded() -> None:
    note = plain(nn.Identity())
    assert note == f"python object {nn.Identity.__module__}.Identity"
    with pytest.raises(UserError, match="student was a python object"):
        checked(parameters_of(TrainOptions), {"student": note})


def test_a_function_of_options_takes_them_as_keyword_arguments() -> None:
    @keyword_function(Child)
    def double(options: Child) -> int:
        """Double the size.

        Returns:
            Twice the size.
        """
        return 2 * options.size

    function: Callable[..., int] = double
    assert (function(size=4), function()) == (8, 6)
    assert inspect.signature(double) == inspect.signature(Child)
    assert double.__doc__ == (
        "Double the size.\n\nArgs:\n    size: Size in whole numbers (default: 3).\n    colour: Colour of the child (default: blue).\n"
        "    speed: Speed (default: as fast as possible).\n    widths: Widths (default: a=1).\n\nReturns:\n    Twice the size."
    )
    with pytest.raises(TypeError, match="colours"):
        function(colours="blue")


@pytest.mark.parametrize(("command", "function"), [(command, name) for command, (name, _) in COMMANDS.items()])
def test_public_functions_have_the_signature_and_docstring_of_their_options(command: str, function: str) -> None:
    public: Any = getattr(api, function)
    options = COMMANDS[command][1]
    assert public.options is options
    assert inspect.signature(public) == inspect.signature(options)
    documented = inspect.getdoc(public) or ""
    for name, parameter in parameters_of(options).items():
        assert f"    {name}: {parameter.help}{parameter.default_note()}.\n" in documented
    assert documented.index("\nArgs:\n") < documented.index("\nReturns:\n")


def test_compare_and_benchmark_share_the_options_of_train() -> None:
    train, compare, benchmark = map(parameters_of, (TrainOptions, CompareOptions, BenchmarkOptions))
    assert [name for name, parameter in compare.items() if not parameter.help] == []
    assert set(train) - set(compare) == {"seed", "devices", "nodes", "rendezvous", "shard", "resume"}
    own = {"method", "method_options", "teacher", "out", "overwrite"}
    assert all(compare[name] == train[name] for name in set(train) & set(compare) - own)
    assert compare["momentum"] == train["momentum"]
    assert set(benchmark) - set(train) == {"group_sizes", "steps", "repeats"}
    assert all(benchmark[name] == train[name] for name in set(benchmark) & set(train) - {"method"})


def test_an_option_is_declared_once() -> None:
    """Of the options of a run, `compare` and `benchmark` redefine only those that mean something else for them."""
    own = {CompareOptions: {"method", "method_options", "teacher"}, BenchmarkOptions: {"method"}}
    for options in (TrainOptions, BenchmarkOptions, CompareOptions):
        redefined = set(vars(options).get("__annotations__", {})) & set(parameters_of(RunOptions))
        assert redefined == own.get(options, set())
