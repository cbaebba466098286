"""Foreign code: what an import path `package.module:attribute` stands for.

Whoever types such a path, or passes it in Python, wants its code to run. A file that holds one (the card of a member, the configuration
of a run, a recipe) may be somebody else's: what it names is imported only if the caller allows this path, and never from inside the run
folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.machinery import PathFinder
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from studygroup.errors import UserError, one_line

TIMM, HUGGING_FACE = "timm:", "hf:"
"""Prefixes of models that these packages make; they run no code of the model's."""
NAMING = ("student", "peers", "teacher", "method", "method_options", "methods")
"""Options that may name code; so may those of each of the `variants`."""


def is_import_path(name: object) -> bool:
    """Return whether a name is `package.module:attribute`."""
    if not isinstance(name, str) or name.startswith((TIMM, HUGGING_FACE)):
        return False
    module, _, attribute = name.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


def code_in(options: Mapping[str, object]) -> list[str]:
    """Return the import paths in the options of a training or a comparison, each once."""
    found = [path for name in NAMING for path in _paths_in(options.get(name))]
    variants = options.get("variants")
    for own in variants.values() if isinstance(variants, Mapping) else ():
        found += code_in(own) if isinstance(own, Mapping) else []
    return list(dict.fromkeys(found))


def _paths_in(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if is_import_path(value) else []
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else ()
    return [path for item in items for path in _paths_in(item)]


def check_import_paths(paths: Collection[str]) -> None:
    """Check the value of `allow_code`.

    Raises:
        UserError: it is no list of import paths.
    """
    for path in [paths] if isinstance(paths, str) else paths:
        if not is_import_path(path):
            raise UserError(f"allow_code has {path!r}; give import paths such as package.module:function, and other arguments before them")
    if isinstance(paths, str):
        raise UserError(f"allow_code is {paths!r}; give a list of import paths, as in allow_code=[{paths!r}]")


def allow_flag(paths: Iterable[str]) -> str:
    """Return the flag that allows some code, with a space before it; empty for none."""
    names = dict.fromkeys(paths)
    return "".join(f" {word}" for word in ("--allow-code", *names)) if names else ""


def check_allowed(paths: Iterable[str], allowed: Collection[str], source: str) -> None:
    """Check that the caller allows the code that a file names.

    Args:
        paths: import paths of the code.
        allowed: import paths.
        source: the file, for the message.

    Raises:
        UserError: some of the code is not allowed.
    """
    missing = [path for path in paths if path not in allowed]
    if missing:
        raise UserError(
            f"{source} names the code {', '.join(missing)}, which a file may not run by itself; if you trust it, add{allow_flag(missing)} "
            f"(in Python allow_code={missing})"
        )


def import_code(path: str, kind: str, *, outside: Path | None = None) -> object:
    """Import foreign code that the caller names or allows; the working directory is searched, too, after everything else.

    Args:
        path: import path of the code.
        kind: what it is to be, for messages.
        outside: run folder in which the code must not lie.

    Raises:
        UserError: it is no import path, in Python's standard library or in the run folder, or the import fails.
    """
    if not is_import_path(path):
        raise UserError(f"{path!r} names no {kind}; write package.module:attribute")
    package = path.partition(":")[0].partition(".")[0]
    if package in sys.stdlib_module_names:
        raise UserError(f"{path!r} names no {kind}: {package} is in Python's standard library; if it is a module of yours, rename it")
    _add_working_directory(outside)
    return import_object(path, kind, outside=outside)


def import_object(path: str, kind: str, *, outside: Path | None = None) -> object:
    """Import `package.module:attribute`; arguments as of `import_code`.

    Raises:
        UserError: the import fails, or a module lies in the run folder, which is found before it is executed.
    """
    module, _, attribute = path.partition(":")
    found: Any = None
    try:
        for name in accumulate(module.split("."), "{}.{}".format):  # so that the next one is found without executing more
            if outside is not None:
                _check_outside(name, outside)
            found = importlib.import_module(name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (UserError, KeyboardInterrupt):
        raise
    except (ImportError, AttributeError, ValueError) as error:
        remedy = "write package.module:attribute, with the package installed, in PYTHONPATH or in the working directory"
        raise UserError(f"cannot import the {kind} {path!r} ({one_line(error)}); {remedy}") from error
    except BaseException as error:  # a module may raise anything, SystemExit too
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"cannot import the {kind} {path!r}: its module fails ({reason}); correct it") from error
    return cast(object, found)


def _check_outside(module: str, folder: Path) -> None:
    """Raise UserError if a module, whose parents are imported, lies in a folder."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        spec = importlib.util.find_spec(module)
        if spec is None and "." not in module:  # the working directory is not searched if it lies in the folder
            spec = PathFinder.find_spec(module, [""])
        file = spec.origin if spec is not None and spec.has_location else None
    if file is not None and _is_inside(Path(file), folder):
        raise UserError(f"{module} is {file}, inside the run folder {folder}, from which no code is run; if it is yours, move it elsewhere")


def _add_working_directory(outside: Path | None) -> None:
    """Put the working directory at the end of `sys.path`, where it hides no other module, unless it is in the run folder."""
    try:
        directory = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return
    if not {str(directory), ""} & set(sys.path) and (outside is None or not _is_inside(directory, outside)):
        sys.path.append(str(directory))


def _is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or in it, by its name or by what its links lead to."""
    places = {Path(os.path.abspath(path)), path.resolve()}
    return folder.exists() and any(parent.exists() and parent.samefile(folder) for place in places for parent in (place, *place.parents))
