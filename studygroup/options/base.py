"""The base of all option groups, and functions that take one as keyword arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from studygroup.errors import UserError, unknown_name
from studygroup.parameters import Parameter, check_values, parameters_of

P = ParamSpec("P")
R = TypeVar("R")
O = TypeVar("O", bound="Options")  # noqa: E741
FROM_PYTHON = "python object "
"""Prefix of the note that a configuration has for a Python object."""
RENAMED = {
    "accumulate": "microbatches",
    "broken": "on_error",
    "cells": "variants",
    "clip": "clip_grad_norm",
    "recalibrate": "recalibrate_bn",
    "spread": "shard",
    "test_share": "test_size",
    "validation": "score_on_unused",
}
"""Former names of options, refused with the new one for one release."""
MOST_SAMPLES, MOST_PROCESSES, MOST_SEEDS = 2**20, 1024, 10_000
"""Bounds of batches, of processes or threads, and of seeds: more is a slip of the keyboard, which would ask for all memory."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all option groups.

    Example:
        >>> from studygroup import options
        >>> options.TrainOptions("digits", epochs=5).epochs
        5
        >>> options.TrainOptions("digits", epochs=0)
        Traceback (most recent call last):
            ...
        studygroup.errors.UserError: epochs is 0; it must be at least 1
    """

    title: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check words against their choices and numbers against their ranges; a text for a list is read as on the command line."""
        known = parameters_of(type(self))
        for name, parameter in known.items():
            value = getattr(self, name)
            if parameter.kind.base == "list" and isinstance(value, str):
                try:
                    object.__setattr__(self, name, (value,) if parameter.positional else parameter.kind.parse(value))
                except ValueError as error:
                    raise UserError(f"{name} is {error}") from None
        check_values(known, vars(self))

    @classmethod
    def of(cls, other: Options, **values: object) -> Self:
        """Copy the fields that both groups have; `values` and then the defaults fill the rest."""
        known = {item.name for item in fields(cls)}
        shared = {item.name: getattr(other, item.name) for item in fields(other) if item.name in known}
        return cls(**shared | values)

    def plain(self) -> dict[str, object]:
        """Return the options by name, as YAML and JSON have them; `from_plain` reads them back."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_plain(cls, values: Mapping[str, object]) -> Self:
        """Check and convert options by name, as `plain` gives them.

        Raises:
            UserError: an unknown option, or a value of another type or out of range.
        """
        return cls(**checked(parameters_of(cls), values))


def plain(value: object) -> object:
    """Convert a value to what YAML and JSON have; an object without text becomes a note of its class.

    Example:
        >>> from studygroup import options
        >>> options.plain((0.1, {"a": (1, 2)}))
        [0.1, {'a': [1, 2]}]
    """
    if value is None or isinstance(value, bool):
        return value
    for base in (int, float, str):  # of a subclass (NumPy's numbers) the plain value
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return f"{FROM_PYTHON}{type(value).__module__}.{type(value).__qualname__}"


def note_of_object(value: object) -> str | None:
    """Return the note of a Python object that a plain value, or a list of them, holds; None if it holds none.

    Example:
        >>> from studygroup import options
        >>> options.note_of_object(options.plain([print, "resnet20"]))
        'python object builtins.builtin_function_or_method'
    """
    return next((item for item in as_tuple(value) if isinstance(item, str) and item.startswith(FROM_PYTHON)), None)


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return the items of an option that is one value, a list of several, or None.

    Example:
        >>> from studygroup import options
        >>> options.as_tuple("resnet20"), options.as_tuple(["runs/a", "runs/b"]), options.as_tuple(None)
        (('resnet20',), ('runs/a', 'runs/b'), ())
    """
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def checked(known: Mapping[str, Parameter], values: Mapping[str, object]) -> dict[str, Any]:
    """Check option values from YAML or JSON and convert them to the types of their fields.

    Raises:
        UserError: an unknown option, or a value of another type.

    Example:
        >>> from studygroup import options
        >>> from studygroup.parameters import parameters_of
        >>> options.checked(parameters_of(options.ScheduleOptions), {"warmup": 5})
        {'warmup': 5.0}
        >>> options.checked(parameters_of(options.ScheduleOptions), {"warmup": "five"})
        Traceback (most recent call last):
            ...
        studygroup.errors.UserError: warmup is 'five'; it must be a number
    """
    found = {}
    for name, value in values.items():
        if name not in known:
            raise unknown_option(name, known)
        if (noted := note_of_object(value)) is not None:
            raise UserError(f"{name} was a {noted}; such a run can be repeated from Python only, or name a {name} that has a name")
        try:
            found[name] = known[name].kind.check(value)
        except ValueError as error:
            raise UserError(f"{name} is {error}") from None
    return found


def unknown_option(name: str, known: Iterable[str], kind: str = "option") -> UserError:
    """Make the error for an option that does not exist: the new name of a renamed one, or the nearest names.

    Example:
        >>> from studygroup import options
        >>> options.unknown_option("epoch", ["epochs", "seed"])
        UserError("unknown option 'epoch'; did you mean epochs?")
    """
    if name in RENAMED:
        return UserError(f"{name} is called {RENAMED[name]} now; write {RENAMED[name]}")
    return unknown_name(kind, name, known)


def keyword_function(options: Callable[P, O]) -> Callable[[Callable[[O], R]], Callable[P, R]]:
    """Turn a function of an options object into one that takes the options as keyword arguments.

    Type checkers and editors see the signature of the options class; at run time, so does `inspect.signature`.

    Args:
        options: a class of options.

    Example:
        >>> from studygroup import options
        >>> @options.keyword_function(options.SeedOptions)
        ... def describe(given):
        ...     return f"seed {given.seed}"
        >>> describe(seed=3)
        'seed 3'
    """

    def decorate(function: Callable[[O], R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if strange := next((name for name in kwargs if name not in parameters_of(options)), None):
                raise TypeError(f"{function.__name__}(): {unknown_option(strange, parameters_of(options))}")
            return function(options(*args, **kwargs))

        call.__doc__ = _with_arguments(function.__doc__ or "", parameters_of(options))
        call.__signature__ = inspect.signature(options)  # type: ignore[attr-defined]
        call.options = options  # type: ignore[attr-defined]
        return call

    return decorate


def _with_arguments(doc: str, parameters: Mapping[str, Parameter]) -> str:
    """Insert the options, as a section `Args`, before the section `Returns` of a docstring."""
    before, returns, after = inspect.cleandoc(doc).partition("\n\nReturns:")
    lines = [f"    {name}: {parameter.help}{parameter.default_note()}." for name, parameter in parameters.items()]
    return "\n".join([before, "", "Args:", *lines]) + returns + after
