"""Folders with one sub-folder per class, of whatever kind of files.

    photos/cat/1.jpg  photos/dog/x/2.png ...                 one tree
    photos/train/cat/1.jpg ...  photos/test/cat/2.jpg ...    with a test set of its own

`train` may also be called `training`, and `test` `testing` or, if there is none, `val`, `valid` or `validation`, in any case. Classes are
sorted by name; files may lie at any depth below their class. Hidden files and folders, files of other kinds, and files beside the class
folders are left out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from studygroup.errors import UserError

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One file: its path relative to the folder, with `/`, and its label."""

    name: str
    label: int


@dataclass(frozen=True)
class Kind:
    """What is looked for in a folder.

    Attributes:
        one: what such a file holds, e.g. `image`; more are called so with an s.
        list: the files of this kind in a folder at any depth, as sorted paths (with `/`) relative to it.
    """

    one: str
    list: Callable[[Path], list[str]]


def scan(root: Path, kind: Kind) -> tuple[tuple[str, ...], dict[str, list[Sample]]]:
    """Find the classes of a folder and its files.

    Returns:
        The classes, sorted, and the samples by split: `train` and `test`, or `train` alone for one tree.

    Raises:
        UserError: there are no classes, only one, an empty one, or other ones for the test than for training.
    """
    inside = {name.lower(): name for name in folders(root)}
    parts = [part for part in (*TRAIN_NAMES, *TEST_NAMES) if part in inside and folders(root / inside[part])]
    train = next((inside[part] for part in parts if part in TRAIN_NAMES), None)
    test = next((inside[part] for part in parts if part in TEST_NAMES), None)
    if train is None:
        if parts and len(parts) == len(inside):
            raise UserError(f"{root} has {test}/, but no train/; give {root / str(test)} if that holds the classes")
        classes, samples = tree(root, "", kind)
        return classes, {"train": samples}
    if test is None:
        raise UserError(f"{root} has {train}/, but no test/ with a folder per class; add it, or give {root / train} to have that divided")
    if left := sorted(set(folders(root)) - {train, test}):
        logger.warning("not used in %s beside %s/ and %s/: %s", root, train, test, ", ".join(left))
    (classes, learned), (tested, held) = tree(root, f"{train}/", kind), tree(root, f"{test}/", kind)
    if classes != tested:
        one = min(set(classes) ^ set(tested))
        there, missing = (train, test) if one in classes else (test, train)
        raise UserError(f"the classes of {root} differ: {one!r} is in {there}/, but not in {missing}/; both need the same sub-folders")
    return classes, {"train": learned, "test": held}


def tree(root: Path, prefix: str, kind: Kind) -> tuple[tuple[str, ...], list[Sample]]:
    """The classes in `root/prefix` and their files, class by class."""
    place = root / prefix
    classes = tuple(folders(place))
    if strange := [name for name in classes if as_text(name) != name]:
        raise UserError(f"{as_text(str(place / strange[0]))} has a name that is not UTF-8; rename it")
    if not classes:
        hint = f"its {kind.one}s lie in it directly; " if kind.list(place) else ""
        raise UserError(f"{place} has no sub-folders; {hint}give a folder with one sub-folder of {kind.one}s per class")
    found = {name: kind.list(place / name) for name in classes}
    if not any(found.values()):
        raise UserError(f"{place} has no {kind.one}s; give a folder with one sub-folder of {kind.one}s per class")
    if empty := [name for name, files in found.items() if not files]:
        raise UserError(f"class {empty[0]!r} of {place} has no {kind.one}s; add some or remove the folder")
    if len(classes) == 1:
        raise UserError(f"{place} has the single class {classes[0]!r}; at least two are needed")
    return classes, [Sample(f"{prefix}{name}/{file}", label) for label, name in enumerate(classes) for file in found[name]]


def folders(place: Path) -> list[str]:
    """The folders in a folder, sorted; hidden ones are left out."""
    try:
        return sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}; change its permissions") from error


def list_files(folder: Path, suffixes: Collection[str]) -> list[str]:
    """The files in a folder at any depth, as sorted paths (with `/`) relative to it; hidden ones are left out.

    Args:
        folder: where to look.
        suffixes: of the files that count, in lower case, with the dot.

    Raises:
        UserError: a folder in it cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}; change its permissions, or remove it") from error

    found = []
    for root, inner, files in os.walk(folder, onerror=refuse):
        inner[:] = [name for name in inner if not name.startswith(".")]
        inside = Path(root).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + name for name in files if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes]
    return sorted(found)


def as_text(name: str) -> str:
    """A file's name as it can be written anywhere, whatever bytes it has."""
    return name.encode("utf-8", "replace").decode("utf-8")
