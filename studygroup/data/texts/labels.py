"""Labels of texts: their order, and the check that they are classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from studygroup.errors import UserError
from studygroup.escape import shortened

MAX_CLASSES = 1000
"""Number of distinct labels above which they are not accepted as classes."""
ALL_DIFFERENT = 10
"""Number of rows from which on labels that are all different are not accepted as classes."""
PLURAL = 3
"""Number of letters above which a final `s` may be that of a plural."""
SHOWN = 3
"""Number of labels that a message shows as examples."""


class ClassIndex:
    """Numbers of classes by name; without given classes, in the order of their first occurrence.

    Args:
        classes: names in the order of their numbers; None to number the labels as they occur.
        source: name of the data set, for messages.
    """

    def __init__(self, classes: Sequence[str] | None, source: str) -> None:
        self.fixed = classes is not None
        self.source = source
        self.numbers = {name: number for number, name in enumerate(classes or ())}

    def number(self, name: str) -> int:
        """Return the number of a class.

        Raises:
            UserError: there is no such class, or there are too many.
        """
        if name not in self.numbers:
            if self.fixed:
                raise UserError(f"{shortened(name)!r} of {self.source} is none of its classes: {shortened(', '.join(self.numbers), 80)}")
            self.numbers[name] = len(self.numbers)
            check_classes(self.numbers, None, self.source)
        return self.numbers[name]


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sort distinct labels: by value if all are whole numbers, else by name."""
    distinct = set(names)
    if all(re.fullmatch(r"[+-]?[0-9]+", name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def check_classes(names: Collection[str], rows: int | None, source: str) -> None:
    """Check that labels can be classes: whenever a new one occurs, and when all rows are read.

    Args:
        names: the distinct labels that have occurred.
        rows: number of rows, once all are read; None before.
        source: name of the data set, for messages.

    Raises:
        UserError: there are too many labels, or none, all rows have different ones, or they are numbers with fractions.
    """
    remedy = "give a column of classes (--label-column)"
    if len(names) > MAX_CLASSES:
        raise UserError(f"the labels of {source} have more than {MAX_CLASSES} values ({_examples(names)}), too many for classes; {remedy}")
    if rows is None:
        return
    if not names:
        raise UserError(f"{source} has no rows; give a table of texts and labels")
    if all(map(is_number, names)) and (fractions := [name for name in names if not float(name).is_integer()]):
        raise UserError(
            f"the labels of {source} are numbers with fractions ({_examples(fractions)}), not classes; {remedy}, or replace them by classes"
        )
    if len(names) == rows >= ALL_DIFFERENT:
        raise UserError(f"the labels of {source} are different in all of its {rows} rows ({_examples(names)}), not classes; {remedy}")


def odd_names(names: Sequence[str], source: str) -> list[str]:
    """Describe, one line each with the remedy, names of classes that may be meant to be the same; nothing is merged.

    Such names differ in case, spaces, hyphens, spelling of characters, or by a plural's `s` only.

    Args:
        names: of the classes.
        source: name of the data set.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        words = unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").split()
        found.setdefault(" ".join(words), []).append(name)
    for key in [key for key in found if len(key) > PLURAL and key.endswith("s") and key[:-1] in found]:
        found[key[:-1]] += found.pop(key)
    near = [", ".join(repr(name if len(name) <= 40 else name[:39] + "…") for name in group) for group in found.values() if len(group) > 1]
    lines = []
    if near:
        more = f"; {len(near) - SHOWN} more such groups" if len(near) > SHOWN else ""
        lines.append(
            f"classes of {source} differ in case, spaces, hyphens, spelling of characters or a plural's s only and are kept apart: "
            f"{'; '.join(near[:SHOWN])}{more}. If they are one class, write them alike in the data"
        )
    fractions = [name for name in names if is_number(name) and not re.fullmatch(r"[+-]?[0-9]+", name) and float(name).is_integer()]
    if fractions:
        twice = [name for name in fractions if str(int(float(name))) in names]
        lines.append(
            f"classes of {source} are written as numbers with fractions: {_examples(fractions)}"
            f"{f', and {twice[0]!r} is another class than {str(int(float(twice[0])))!r}' if twice else ''}. If they count something, write "
            "whole numbers (pandas: df[column].astype('Int64'))"
        )
    return lines


def is_number(name: str) -> bool:
    """Return whether a label is a number, perhaps with a fraction or an exponent."""
    return re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", name) is not None


def _examples(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(repr(shortened(name)) for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
