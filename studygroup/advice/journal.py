"""The journal of an advice: its decisions and the time that it has spent, so that it goes on after it was stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from studygroup.errors import UserError
from studygroup.regular import read_regular_text
from studygroup.runs.files import write_json

T = TypeVar("T")


class Journal:
    """Decisions by name, in JSON's types, and the seconds that all sessions of this advice have taken.

    Attributes:
        path: of its file.
    """

    def __init__(self, path: Path, identity: Mapping[str, object], *, limit: float) -> None:
        """Open a journal, or begin one; nothing is written yet.

        Args:
            path: of its file.
            identity: the options that must be the same when an advice goes on.
            limit: seconds that the advice may take.

        Raises:
            UserError: it is damaged, or the advice was begun with other options.
        """
        self.path = path
        self.limit = limit
        self._started = time.monotonic()
        content = _read(path)
        self._decisions: dict[str, Any] = content.get("decisions", {})
        self._identity = json.loads(json.dumps(dict(identity)))
        self._before = float(content.get("seconds", 0.0))
        if content:
            was = content["options"]
            odd = [key for key in self._identity if self._identity[key] != was.get(key)]
            if odd:
                shown = "; ".join(f"{key} was {was.get(key)!r}, is {self._identity[key]!r}" for key in odd[:4])
                raise UserError(
                    f"the advice in {path.parent} had other options ({shown}); take another --out, or start again with --overwrite"
                )

    @property
    def spent(self) -> float:
        """Seconds spent so far."""
        return self._before + time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds left of the limit."""
        return self.limit - self.spent

    def once(self, name: str, decide: Callable[[], T]) -> T:
        """Return what was decided under a name; decide and write it down the first time."""
        if name not in self._decisions:
            self.note(name, decide())
        return cast("T", self._decisions[name])

    def note(self, name: str, value: object) -> None:
        """Write something down, in place of an earlier note of that name."""
        self._decisions[name] = json.loads(json.dumps(value))
        self.save()

    def get(self, name: str) -> Any:
        """Return a note; None if there is none."""
        return self._decisions.get(name)

    def save(self) -> None:
        """Write the journal with the time spent so far."""
        write_json(self.path, {"options": self._identity, "seconds": round(self.spent, 3), "decisions": self._decisions})


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_regular_text(path))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
        raise UserError(f"{path} is damaged; start the advice again with --overwrite")
    return content
