"""Options, written once: a field with its type, default, range and help. The command line, recipes and checks are made from it.

    epochs: int = option(100, at_least=1, help="Number of passes over the training set.")

One place turns an annotation such as `float | None` or `Sequence[int]` into a parser of text (the command line) and a check of
values (recipes), so that both accept the same things.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from studygroup.errors import UserError
from studygroup.kinds import Base, Kind

T = TypeVar("T")
Affects = Literal["result", "cost", "nothing"]
"""Effect of another value of an option: on the trained weights, only on time or place of the computation, or on neither."""
SCALARS: dict[str, Base] = {"str": "text", "Path": "text", "int": "int", "float": "float", "bool": "bool", "object": "any", "Any": "any"}
LISTS = ("Sequence", "list", "tuple", "Iterable")
MAPPINGS = ("Mapping", "dict")


@dataclass(frozen=True)
class Bounds:
    """The range of a number; None where it has no end."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def describe(self) -> str:
        """Return the range in words, to end a sentence such as `it must be ...`; empty without bounds."""
        limits = (("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below))
        return " and ".join(f"{words} {_number_text(limit)}" for words, limit in limits if limit is not None)

    def contain(self, number: float) -> bool:
        """Return whether a number is in the range."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


@dataclass(frozen=True)
class Parameter:
    """One option: a field of an option group, or an argument of a function.

    Attributes:
        name: as in Python.
        kind: type of its value.
        positional: whether it may be a positional argument.
        required: whether it has no default.
        default: its default, None if it has none.
        help: its help text.
        bounds: the range of its number, or of each of its numbers.
        affects: what another value changes.
        default_help: the default in words, where it depends on other options.
        group: title of the option group that it belongs to.
    """

    name: str
    kind: Kind
    positional: bool
    required: bool
    default: object
    help: str
    bounds: Bounds = Bounds()
    affects: Affects = "result"
    default_help: str = ""
    group: str = ""

    def default_note(self) -> str:
        """Return ` (default: ...)`; empty for a required option or an empty default."""
        if self.default_help:
            return f" (default: {self.default_help})"
        return "" if self.required or self.default in (None, (), {}) else f" (default: {show(self.default)})"

    def check_range(self, value: object) -> None:
        """Raise UserError if a number of the value is out of range; the message names it and the range."""
        for number in _numbers(value):
            if not self.bounds.contain(number):
                shown = f"{number:g}" if isinstance(number, float) else str(number) if abs(number) < 10**50 else "a number of many digits"
                raise UserError(f"{self.name} is {shown}; it must be {self.bounds.describe()}")


def option(
    default: T,
    *,
    help: str,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    affects: Affects = "result",
    default_help: str = "",
    class_attribute: bool = True,
) -> T:
    """Declare an option as a field of a dataclass.

    Args:
        default: its default.
        help: its help text.
        at_least: inclusive minimum.
        above: exclusive minimum.
        at_most: inclusive maximum.
        below: exclusive maximum.
        affects: what another value changes.
        default_help: the default in words, where it depends on other options.
        class_attribute: False for a name that is a method of a base class, which must not be replaced by the default.
    """
    metadata = {"help": help, "bounds": Bounds(at_least, above, at_most, below), "affects": affects, "default_help": default_help}
    if isinstance(default, dict) or not class_attribute:
        return dataclasses.field(default_factory=lambda: copy.copy(default), repr=class_attribute, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def kind_of(annotation: object, module: str = __name__) -> Kind:
    """Return the kind of an annotation; a union's classes that only Python code can give (`nn.Module`) are ignored.

    Args:
        annotation: as text, which is how `from __future__ import annotations` leaves it.
        module: name of the module in which aliases such as `Mode = Literal["a", "b"]` are defined.

    Raises:
        TypeError: no text can be parsed as a value of the annotation.
    """
    if annotation is inspect.Parameter.empty:
        return Kind("text")
    return _kind_of(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation), module)


@functools.cache  # most options have one of a few annotations, and `--help` should be fast
def _kind_of(text: str, module: str) -> Kind:
    optional = False
    kinds: list[Kind] = []
    for member in _members(ast.parse(text, mode="eval").body):
        if isinstance(member, ast.Constant) and member.value is None:
            optional = True
        elif (kind := _simple(member, module)) is not None and kind not in kinds:
            kinds.append(kind)
    if not kinds:
        raise TypeError(f"no text can be parsed as {text}")
    first, *others = sorted(kinds, key=lambda kind: kind.base == "choice")
    if first.base == "map" and [kind.base for kind in others] == ["choice"]:
        return Kind("map", optional, others[0].choices, first.item)
    whole = next((kind for kind in kinds if kind.base in ("list", "map")), None)
    if whole is not None and sorted(kind.base for kind in kinds) == [whole.base, "text"]:
        return Kind(whole.base, optional, item=whole.item, or_text=True)
    if others:
        raise TypeError(f"{text} is ambiguous: a text could be parsed as more than one of its types")
    return Kind(first.base, optional, first.choices, first.item)


def parameters_of(source: Callable[..., object]) -> Mapping[str, Parameter]:
    """Return the options of a dataclass, or the arguments of a function with their lines in its docstring, by name and in order."""
    return _parameters_of(source)


@functools.cache
def _parameters_of(source: Any) -> Mapping[str, Parameter]:
    fields = {field.name: field for field in dataclasses.fields(source) if field.init} if dataclasses.is_dataclass(source) else {}
    owners = {name: kind for kind in reversed(getattr(source, "__mro__", ())) for name in vars(kind).get("__annotations__", {})}
    notes: dict[str, str] = {}
    if not fields and source.__doc__:
        import docstring_parser

        notes = {note.arg_name: " ".join((note.description or "").split()) for note in docstring_parser.parse(source.__doc__).params}
    found = {}
    for name, parameter in inspect.signature(source).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is inspect.Parameter.empty
        default = None if required else parameter.default
        metadata: Mapping[str, Any] = {}
        annotation: object = parameter.annotation
        if name in fields:
            field = fields[name]
            metadata, annotation = field.metadata, field.type
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
        found[name] = Parameter(
            name,
            kind_of(annotation, owners.get(name, source).__module__),
            positional=parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
            required=required,
            default=default,
            help=metadata.get("help", notes.get(name, "")),
            bounds=metadata.get("bounds", Bounds()),
            affects=metadata.get("affects", "result"),
            default_help=metadata.get("default_help", ""),
            group=vars(owners[name]).get("title", "") if name in owners else "",
        )
    return found


def check_values(parameters: Mapping[str, Parameter], values: Mapping[str, object]) -> None:
    """Check values that come from Python code: words against their choices, texts, numbers against their ranges.

    Raises:
        UserError: a value is not allowed; the message names it and what is.
    """
    for name, parameter in parameters.items():
        if name not in values:
            continue
        if parameter.kind.base == "choice":
            try:
                parameter.kind.check(values[name])
            except ValueError as error:
                raise UserError(f"{name} is {error}") from None
        if "\0" in str(values[name]) and isinstance(values[name], str | Path):
            raise UserError(f"{name} is {str(values[name])!r}, which holds a zero byte; leave it out")
        parameter.check_range(values[name])


def _numbers(value: object) -> list[float]:
    value = list(value.values()) if isinstance(value, Mapping) else [value] if isinstance(value, int | float) else value
    return [item for item in value if isinstance(item, int | float)] if isinstance(value, Sequence) else []


def _number_text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def show(value: object) -> str:
    """Format a default as it would be typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={show(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(show, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _members(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _members(node.left) + _members(node.right)
    return [node]


def _simple(node: ast.expr, module: str) -> Kind | None:
    """Return the kind of one member of a union; None if it is a class that only Python code can give."""
    if isinstance(node, ast.Name):
        alias = getattr(sys.modules[module], node.id, None)
        if get_origin(alias) is Literal:
            return Kind("choice", choices=get_args(alias))
        return Kind(SCALARS[node.id]) if node.id in SCALARS else None
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return None
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if node.value.id == "Literal":
        return Kind("choice", choices=tuple(str(word.value) for word in inner if isinstance(word, ast.Constant)))
    if node.value.id in LISTS:
        return Kind("list", item=kind_of(ast.unparse(inner[0]), module))
    if node.value.id in MAPPINGS:
        return Kind("map", item=kind_of(ast.unparse(inner[-1]), module))
    return None
