"""Annotations -> what may be typed."""

from __future__ import annotations

from typing import Literal

import pytest
from torch import nn

from studygroup import api
from studygroup.errors import UserError
from studygroup.parameters import Kind, check_choices, kind_of, parameters_of, show, with_words_of


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


def test_words_that_are_no_choice_are_refused() -> None:
    def function(kind: Literal["a", "b"], other: Literal["c"] | None = None, *rest: nn.Module) -> None: ...

    check_choices(function, {"kind": "a", "other": None, "rest": ()})
    for given in ({"kind": "c", "other": "c"}, {"kind": "b", "other": "a"}, {"kind": None, "other": "c"}):
        with pytest.raises(UserError, match=r"^(kind is (None|'c'); it must be a or b|other is 'a'; it must be c)"):
            check_choices(function, given)


@pytest.mark.parametrize("annotation", ["nn.Module", "None", "int | str", "Callable[[int], int]"])
def test_annotations_that_no_text_can_stand_for(annotation: str) -> None:
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
def test_text_is_converted(kind: Kind, text: str, value: object) -> None:
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
def test_other_text_is_refused(kind: Kind, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind.parse(text)


@pytest.mark.parametrize("function", [api.train, api.evaluate, api.predict, api.list_names, api.report])
def test_every_parameter_of_every_public_function_is_documented(function: object) -> None:
    assert callable(function)
    parameters = parameters_of(function)
    assert parameters
    assert [name for name, parameter in parameters.items() if not parameter.help] == []


def test_defaults_are_shown_as_they_would_be_typed() -> None:
    assert [show(value) for value in (True, 0.0005, ("a", "b"), {"pivot": 0.1}, 3)] == ["yes", "0.0005", "a,b", "pivot=0.1", "3"]


def test_words_of_another_function() -> None:
    def other(data: str, *, size: int = 3, speed: float = 1.0, colour: str = "red") -> None:
        """Do.

        Args:
            data: given by place.
            size: how large, in
                whole numbers.
            speed: how fast.
            colour: which.

        Returns:
            Nothing.
        """

    @with_words_of(other, without=("colour",))
    def own(data: str, *, speed: int = 7, **words: object) -> dict[str, object]:
        """Do more.

        Args:
            data: what to do it to.
            speed: of one's own.
            **words: of the other.

        Returns:
            What it got.
        """
        return {"data": data, "speed": speed, **words}

    known = parameters_of(own)
    assert {name: (word.default, word.help) for name, word in known.items()} == {
        "data": (None, "what to do it to."),
        "speed": (7, "of one's own."),
        "size": (3, "how large, in whole numbers."),
    }
    assert known["data"].required
    assert own("x", size=4) == {"data": "x", "speed": 7, "size": 4}
    assert own("x") == {"data": "x", "speed": 7, "size": 3}
    assert (own.__doc__ or "").endswith("Returns:\n    What it got.")
    with pytest.raises(TypeError, match="colour"):
        own("x", colour="blue")


def test_compare_has_a_line_on_every_word() -> None:
    train, compare = parameters_of(api.train), parameters_of(api.compare)
    assert [name for name, word in compare.items() if not word.help] == []
    assert set(train) - set(compare) == {"seed", "devices", "nodes", "rendezvous", "shard", "resume"}
    assert compare["momentum"] == train["momentum"]
