"""Read what a run records: its result, its members' cards, its epochs. Whatever a file holds, its values are of their types afterwards.

A file that does not is damaged, which a `UserError` says in one line with what is wrong and how to get the file again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studygroup.errors import UserError, one_line
from studygroup.regular import read_regular_text
from studygroup.runs.layout import FORMAT, from_epoch_one

MAX_VALUES = 2**26  # of an image: a forged shape must not ask for all memory
MAX_LENGTH = 2**20  # tokens of a text


@dataclass(frozen=True)
class Entry:
    """An entry of a JSON object.

    Attributes:
        words: its type, to end a sentence such as `it must be ...`.
        holds: whether a value is of the type.
        required: whether it must be there.
        inner: entries of a value that is an object itself.
    """

    words: str
    holds: Callable[[Any], bool]
    required: bool = True
    inner: Mapping[str, Entry] = field(default_factory=dict)

    def optional(self) -> Entry:
        """Return the same entry that may be missing."""
        return replace(self, required=False)


Entries = Mapping[str, Entry]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def _is_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(item is None or _is_number(item) for item in value.values())


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _is_finite(value: object) -> bool:
    return isinstance(value, list) and all(_is_number(item) and math.isfinite(item) for item in value)


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_count, value)) and 1 <= math.prod(value) <= MAX_VALUES


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def object_of(entries: Entries) -> Entry:
    """Return the entry that is an object of entries itself."""
    return replace(OBJECT, inner=entries)


TEXT = Entry("a text", lambda value: isinstance(value, str))
TEXTS = Entry("a list of texts", _is_texts)
COUNT = Entry("a whole number", _is_count)
NUMBER = Entry("a number", _is_number)
NUMBER_OR_NONE = Entry("a number or null", lambda value: value is None or _is_number(value))
NUMBERS = Entry("an object of numbers", _is_numbers)
YES_OR_NO = Entry("true or false", lambda value: isinstance(value, bool))
OBJECT = Entry("an object", lambda value: isinstance(value, dict))

RESULT: Entries = {
    "format": COUNT.optional(),
    "method": TEXT,
    "data": TEXT,
    "student": TEXT,
    "seed": COUNT.optional(),
    "epochs": COUNT.optional(),
    "seconds": NUMBER_OR_NONE.optional(),
    "candidates": TEXTS.optional(),
    "modules": Entry("an object of digests", lambda value: isinstance(value, dict) and all(map(_is_digest, value.values()))).optional(),
    "parameters": NUMBERS.optional(),
    "selected": object_of({"member": TEXT, "epoch": COUNT, "holdout": NUMBER_OR_NONE, "test": NUMBER_OR_NONE}),
    "last": object_of({"epoch": COUNT, "holdout": NUMBERS, "test": NUMBERS, "diversity": NUMBER_OR_NONE.optional()}),
    "holdout_samples": COUNT.optional(),
    "test_samples": COUNT.optional(),
    "identity": object_of({"data": object_of({"key": TEXT}), "settings": OBJECT}).optional(),
}
CARD: Entries = {
    "format": COUNT.optional(),
    "network": TEXT,
    "classes": TEXTS,
    "precision": Entry("float32 or bf16", lambda value: value in ("float32", "bf16")),
    "channels_last": YES_OR_NO,
    "epoch": COUNT.optional(),
    "holdout": NUMBER_OR_NONE.optional(),
    "config_folder": TEXT.optional(),
    "ensemble_of": TEXTS.optional(),
    "sha256": Entry("64 hexadecimal digits", _is_digest).optional(),
}
IMAGES: Entries = {
    "shape": Entry(f"[channels, height, width] with 1 to {MAX_VALUES:,} values", _is_shape),
    "mean": Entry("a list of numbers", _is_finite),
    "std": Entry("a list of numbers above 0", lambda value: _is_finite(value) and all(item > 0 for item in value)),
}
TEXT_INPUTS: Entries = {
    "tokenizer": OBJECT,
    "max_length": Entry(f"a whole number from 1 to {MAX_LENGTH}", lambda value: _is_count(value) and 1 <= value <= MAX_LENGTH),
}
UNUSED: Entries = {
    "accuracy": Entry("an object of numbers with one for 'best'", lambda value: _is_numbers(value) and "best" in value),
    "diversity": NUMBER_OR_NONE,
    "samples": COUNT,
}
EPOCH: Entries = {
    "epoch": COUNT,
    "seconds": NUMBER.optional(),
    "steps": COUNT.optional(),
    "losses": NUMBERS.optional(),
    "metrics": NUMBERS.optional(),
    "holdout": NUMBERS.optional(),
    "holdout_cross_entropy": NUMBERS.optional(),
    "diversity": NUMBER_OR_NONE.optional(),
}


def problem(content: Mapping[str, Any], entries: Entries) -> str | None:
    """Return what is wrong with an object; None if nothing is."""
    for name, entry in entries.items():
        if name not in content:
            if entry.required:
                return f"it has no {name!r}"
        elif not entry.holds(content[name]):
            return f"{name} is {one_line(ValueError(repr(content[name])), 60)}; it must be {entry.words}"
        elif (wrong := problem(content[name], entry.inner) if entry.inner else None) is not None:
            return f"in {name}, {wrong}"
    return None


def read_result(path: Path) -> dict[str, Any]:
    """Read the result of a finished run, with epochs counted from 1.

    Raises:
        UserError: it is damaged, or of a later version.
    """
    return from_epoch_one(_read(path, again(path), RESULT))


def read_card(path: Path, result: Path) -> dict[str, Any]:
    """Read the card of a member, with epochs counted from 1.

    Args:
        path: of the card.
        result: path of the run's result.

    Raises:
        UserError: it is missing, damaged, or of a later version.
    """
    remedy = again(result)
    card = _read(path, remedy, CARD)
    wrong = problem(card, TEXT_INPUTS if "tokenizer" in card else IMAGES)
    if wrong is None and "shape" in card and not len(card["mean"]) == len(card["std"]) == card["shape"][0]:
        wrong = "mean and std are not one number per channel"
    if wrong is not None:
        raise _damaged(path, wrong, remedy)
    return from_epoch_one(card)


def read_unused(path: Path, remedy: str) -> dict[str, Any]:
    """Read the scores on unused samples of a run of a comparison; arguments and errors as of `read_object`."""
    return _read(path, remedy, UNUSED)


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        remedy: how to get it again, to end the error message.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(read_regular_text(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, one_line(error), remedy) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is no JSON object", remedy)
    return content


def _read(path: Path, remedy: str, entries: Entries) -> dict[str, Any]:
    content = read_object(path, remedy)
    if (wrong := problem(content, entries)) is not None:
        raise _damaged(path, wrong, remedy)
    if content.get("format", FORMAT) > FORMAT:
        raise UserError(f"{path} was written by a later version of studygroup; update studygroup to read it")
    return content


def _damaged(path: Path, wrong: str, remedy: str) -> UserError:
    return UserError(f"{path} is damaged ({wrong}); {remedy}")


def again(result: Path) -> str:
    """Return how to write the results of a run again."""
    return f"delete {result} and finish the run with --resume, which writes its results anew"
