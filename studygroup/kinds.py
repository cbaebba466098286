"""Types of option values: how a value is parsed from text (the command line) and checked (recipes), so that both accept the same things."""

from __future__ import annotations

import difflib
import re
import reprlib
import sys
from dataclasses import dataclass
from typing import Literal

Base = Literal["text", "int", "float", "bool", "choice", "list", "map", "any"]
_PAIRS = re.compile(r"[,\s]+(?![^\[]*\])")  # between NAME=VALUE and the next, but not within [1,2]
_NAMED = re.compile(r"\w+=")


@dataclass(frozen=True)
class Kind:
    """Type of an option's value.

    Attributes:
        base: the type.
        optional: whether None is allowed, too.
        choices: the allowed values of a `choice`, or words that may stand in the place of a `map`.
        item: type of the items of a `list`, or of the values of a `map`.
        or_text: whether any text may stand in the place of a `map`, or of a `list` of texts, whose items no comma separates.
    """

    base: Base
    optional: bool = False
    choices: tuple[str, ...] = ()
    item: Kind | None = None
    or_text: bool = False

    def describe(self) -> str:
        """Return the type in words, to end a sentence such as `it must be ...`."""
        match self.base:
            case "int":
                wanted = "a whole number"
            case "float":
                wanted = "a number"
            case "bool":
                wanted = "true or false"
            case "choice":
                wanted = " or ".join(self.choices)
            case "list":
                wanted = "text or " * self.or_text + f"a list, each item {self._item.describe()}"
            case "map":
                words = [*self.choices, *["text"] * self.or_text]
                wanted = "".join(f"{word}, or " for word in words) + f"a mapping of names, each value {self._item.describe()}"
            case "text":
                wanted = "text"
            case "any":
                wanted = "a value"
        return f"{wanted}, or nothing (null)" if self.optional else wanted

    @property
    def _reads_auto(self) -> bool:
        """Return whether `auto` is a value like others, not another word for None."""
        return self.base == "text" or (self.base == "list" and self.or_text)

    @property
    def _item(self) -> Kind:
        return self.item or Kind("any")

    def parse(self, text: str) -> object:
        """Parse a value from the command line; `none` is None where None is allowed, and so is `auto`, except for a text.

        Raises:
            ValueError: the text is no such value; the message says what is expected.
        """
        if self.optional and (text.lower() in ("none", "null") or (not self._reads_auto and text == "auto")):
            return None
        match self.base:
            case "int" | "float":
                return self._number(text)
            case "bool":
                if text.lower() not in ("true", "false"):
                    raise ValueError(f"{text!r} is not true or false")
                return text.lower() == "true"
            case "choice":
                return self._choice(text)
            case "list":
                return text if self.or_text else tuple(self._item.parse(part) for part in _parts(text))
            case "map":
                return text if text in self.choices or (self.or_text and not _NAMED.match(text)) else self._mapping(text)
            case _:
                return text

    def check(self, value: object) -> object:
        """Check and convert a value from a recipe: lists become tuples, integers become floats where a float is expected.

        Raises:
            ValueError: the value is of another type; the message says what is expected.
        """
        wrong = ValueError(f"{_shown(value)}; it must be {self.describe()}")
        is_word = (self.base == "map" and value in self.choices) or (self.or_text and isinstance(value, str))
        if self.base == "any" or (value is None and self.optional) or is_word:
            return value
        if not self._reads_auto and value == "auto" and self.optional:
            return None
        match self.base, value:
            case "bool", bool():
                return value
            case _, bool() | None:
                raise wrong
            case "int", int() if _is_finite(value):
                return value
            case "float", int() | float():
                if not _is_finite(value):
                    raise wrong
                return float(value)
            case "text", str():
                return value
            case "choice", str():
                return self._choice(value)
            case "list", list() | tuple():
                return tuple(self._item.check(item) for item in value)
            case "map", dict() if all(isinstance(key, str) for key in value):
                return {key: self._item.check(item) for key, item in value.items()}
            case _:
                raise wrong

    def _number(self, text: str) -> float:
        convert = int if self.base == "int" else float
        try:
            number = convert(text)
        except ValueError:
            raise ValueError(f"{_shown(text)} is not {Kind(self.base).describe()}") from None
        if not _is_finite(number):
            raise ValueError(f"{_shown(text)} is not a finite number")
        return number

    def _choice(self, text: str) -> str:
        if text not in self.choices:
            near = difflib.get_close_matches(text, self.choices, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it must be {' or '.join(self.choices)}"
            raise ValueError(f"{text!r}; {hint}")
        return text

    def _mapping(self, text: str) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for part in _PAIRS.split(text.strip(", ")) if text.strip(", ") else ():
            key, equals, value = part.partition("=")
            if not equals or not key:
                raise ValueError(f"{part!r} is not NAME=VALUE")
            mapping[key.strip()] = self._item.parse(value.strip())
        return mapping


def _is_finite(number: float) -> bool:
    """Return whether a number, which may be an integer of any size, is one that a float can have."""
    return abs(number) <= sys.float_info.max


def _shown(value: object) -> str:
    """Return the representation of a value for a message: a forged recipe may hold a very long one."""
    text = repr(value)
    return text if len(text) <= 200 else reprlib.repr(value)


def _parts(text: str) -> list[str]:
    """Split at commas, except between the options of a network, as in `transformer@depth=2,heads=2,vdcnn9`."""
    commas = r",(?![^,@]*=)" if "@" in text else ","
    return [part.strip() for part in re.split(commas, text) if part.strip()]
