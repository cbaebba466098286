"""Lazy registries: a name stands for `package.module:attribute`, which is imported when it is first asked for.

They are open: other packages add names by entry points, and an import path works wherever a name does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from studygroup.errors import unknown_name
from studygroup.foreign import import_code, import_object

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names of importable objects of one kind. Iterating and `in` import nothing."""

    def __init__(self, kind: str, entries: Mapping[str, str], *, group: str | None = None) -> None:
        """Set the entries.

        Args:
            kind: what an entry is, for messages: `method`, `network`, ...
            entries: name -> `package.module:attribute`.
            group: entry point group in which other packages add entries; a built-in name cannot be replaced.
        """
        self.kind = kind
        self.built_in = dict(entries)
        self.group = group

    @cached_property
    def entries(self) -> dict[str, str]:
        """All entries, those of other packages after the built-in ones."""
        found = () if self.group is None else entry_points(group=self.group)
        return {**{point.name: point.value for point in sorted(found, key=lambda point: point.name)}, **self.built_in}

    def __getitem__(self, name: str) -> T:
        path = self.built_in.get(name) or self.entries[name]
        return cast(T, import_object(path, self.kind))

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        yield from (name for name in self.entries if name not in self.built_in)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self.entries

    def load(self, name: str) -> T:
        """Import the object that a registered name or an import path (`package.module:attribute`) stands for.

        Raises:
            UserError: the name is not registered (the nearest names are offered), or the import fails.
        """
        if name in self:
            return self[name]
        if ":" in name:
            return cast(T, import_code(name, self.kind))
        raise unknown_name(self.kind, name, self)

    def name_of(self, obj: Any) -> str:
        """Return the registered name of a class or function, or its import path if it is not registered."""
        path = import_path(obj)
        return next((name for name, entry in self.entries.items() if entry == path), path)


def import_path(obj: Any) -> str:
    """Return `package.module:attribute` of a class or function."""
    return f"{obj.__module__}:{obj.__qualname__}"
