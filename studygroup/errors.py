"""What goes wrong because of what the user gave: one line, with the value and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 50  # names, where none is near


class UserError(ValueError):
    """Input that cannot work. The message is one line that names the value and the remedy."""


class TrainingError(RuntimeError):
    """A run that cannot go on (a loss that is not finite, a disk that is full); what was saved before is kept."""


def one_line(error: Exception, length: int = 150) -> str:
    """What an error of another package says, in one line of at most `length` characters."""
    return " ".join(str(error).split())[:length]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a registry, with the nearest names that are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.65)
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:SHOWN])}{more}"
    return UserError(f"unknown {kind} {name!r}; {hint}")
