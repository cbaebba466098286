"""User-facing errors: one line with the bad value and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_NAMES = 50  # listed in an error if no name is similar


class UserError(ValueError):
    """Invalid input. The message is one line with the bad value and the fix.

    Example:
        >>> import studygroup as sg
        >>> sg.train("digits", epochs=-1)
        Traceback (most recent call last):
            ...
        studygroup.errors.UserError: epochs is -1; it must be at least 1
    """


class TrainingError(RuntimeError):
    """A run that cannot continue (a non-finite loss, a full disk); earlier checkpoints are kept."""


def one_line(error: BaseException, length: int = 150) -> str:
    """Return the message of an error, or its class if it has none, in one line of at most `length` characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:length]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Make the error for an unknown name, with the most similar known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.65)
    more = f", and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:MAX_NAMES])}{more}"
    return UserError(f"unknown {kind} {name!r}; {hint}")


def require(condition: bool, message: str) -> None:
    """Raise UserError(message) unless `condition` holds."""
    if not condition:
        raise UserError(message)
