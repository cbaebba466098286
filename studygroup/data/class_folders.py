"""Folders with one sub-folder per class, of images or of texts.

    photos/cat/1.jpg  photos/dog/x/2.png ...                 one folder
    photos/train/cat/1.jpg ...  photos/test/cat/2.jpg ...    with a test set
    photos/train/cat/1.jpg ...  photos/val/cat/2.jpg ...     with a hold-out set; with or without test/

`train` may also be called `training`, `val` `valid` or `validation`, and `test` `testing`, in any case. Classes are sorted by name; files
may be at any depth below their class. Hidden files and folders, what operating systems leave (`ignored`), files of other kinds, and files
beside the class folders are ignored.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from studygroup.data.cache.fingerprint import fingerprints, no_remark
from studygroup.errors import UserError

SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Names of the folders, tables and splits for training, hold-out and test, in order of preference, in lower case."""
LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})
"""Lower-case names of what operating systems leave in folders and archives, beside hidden files such as `.DS_Store` and `._photo.jpg`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One file: its path relative to the folder, with `/`, and its label."""

    name: str
    label: int


@dataclass(frozen=True)
class FileKind:
    """The kind of files to look for in a folder.

    Attributes:
        noun: content of a file in the singular, e.g. `image`, for messages.
        suffixes: returns the suffixes of such files, in lower case, with the dot.
    """

    noun: str
    suffixes: Callable[[], frozenset[str]]

    def list_files(self, folder: Path) -> list[str]:
        """Return the files of this kind in a folder at any depth, as sorted paths (with `/`) relative to it."""
        return list_files(folder, self.suffixes())


@dataclass(frozen=True)
class FolderContent:
    """The labelled files of a folder.

    Attributes:
        root: the folder.
        classes: names, sorted.
        samples: by split: `train`, perhaps `val`, perhaps `test`.
    """

    root: Path
    classes: tuple[str, ...]
    samples: dict[str, list[Sample]]

    @classmethod
    def scan(cls, root: Path, kind: FileKind) -> FolderContent:
        """Find the classes of a folder and its files.

        Raises:
            UserError: there are no classes, only one, an empty one, or different ones in the splits.
        """
        inside = {name.lower(): name for name in folders(root)}
        found = {
            split: next((inside[name] for name in names if name in inside and folders(root / inside[name])), None)
            for split, names in SPLIT_NAMES.items()
        }
        used = {split: name for split, name in found.items() if name is not None}
        if "train" not in used:
            if used and all(name in sum(SPLIT_NAMES.values(), ()) for name in inside):
                name = next(iter(used.values()))
                raise UserError(f"{root} has {name}/, but no train/; give {root / name} if that holds the classes")
            classes, samples = find_classes(root, "", kind)
            return cls(root, classes, {"train": samples})
        train = used["train"]
        if len(used) == 1:
            raise UserError(
                f"{root} has {train}/, but no val/ or test/ with a folder per class; add one, or give {root / train} to have that divided"
            )
        if unused := sorted(set(folders(root)) - set(used.values())):
            logger.warning("not used in %s beside %s: %s", root, " and ".join(f"{name}/" for name in used.values()), ", ".join(unused))
        scanned = {split: find_classes(root, f"{name}/", kind) for split, name in used.items()}
        classes = scanned["train"][0]
        for split, name in used.items():
            if scanned[split][0] != classes:
                odd = min(set(classes) ^ set(scanned[split][0]))
                has, lacks = (train, name) if odd in classes else (name, train)
                raise UserError(f"the classes of {root} differ: {odd!r} is in {has}/, but not in {lacks}/; both need the same sub-folders")
        return cls(root, classes, {split: samples for split, (_, samples) in scanned.items()})

    def fingerprints(
        self, cache: Path, *, purpose: str, examine: Callable[[Path], str] = no_remark, progress: bool
    ) -> list[tuple[str, str, str, str]]:
        """Return split, name, content hash and remark of every file; see `fingerprint.fingerprints`."""
        names = [(split, sample.name) for split, samples in self.samples.items() for sample in samples]
        found = fingerprints(self.root, [name for _, name in names], cache, purpose=purpose, examine=examine, progress=progress)
        return [(*name, *facts) for name, facts in zip(names, found, strict=True)]


def find_classes(root: Path, prefix: str, kind: FileKind) -> tuple[tuple[str, ...], list[Sample]]:
    """Return the classes in `root/prefix` and their files, class by class."""
    folder = root / prefix
    classes = tuple(folders(folder))
    if invalid := [name for name in classes if printable(name) != name]:
        raise UserError(f"{printable(str(folder / invalid[0]))} has a name that is not UTF-8; rename it")
    if not classes:
        hint = f"its {kind.noun}s are directly in it; " if kind.list_files(folder) else ""
        raise UserError(f"{folder} has no sub-folders; {hint}give a folder with one sub-folder of {kind.noun}s per class")
    found = {name: kind.list_files(folder / name) for name in classes}
    if not any(found.values()):
        raise UserError(f"{folder} has no {kind.noun}s; give a folder with one sub-folder of {kind.noun}s per class")
    if empty := [name for name, files in found.items() if not files]:
        raise UserError(f"class {empty[0]!r} of {folder} has no {kind.noun}s; add some or remove the folder")
    return classes, [Sample(f"{prefix}{name}/{file}", label) for label, name in enumerate(classes) for file in found[name]]


def ignored(name: str) -> bool:
    """Return whether a file or folder of this name holds no data: it is hidden, or an operating system left it."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def folders(parent: Path) -> list[str]:
    """Return the folders in a folder, sorted, without ignored ones."""
    try:
        return sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not ignored(entry.name))
    except OSError as error:
        raise UserError(f"{parent} cannot be read: {error.strerror}; change its permissions") from error


def list_files(folder: Path, suffixes: Collection[str]) -> list[str]:
    """Return the files in a folder at any depth, as sorted paths (with `/`) relative to it, without ignored ones.

    Args:
        folder: where to look.
        suffixes: suffixes of the files, in lower case, with the dot.

    Raises:
        UserError: a folder in it cannot be read.
    """

    def raise_error(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}; change its permissions, or remove it") from error

    found = []
    for root, inner, files in os.walk(folder, onerror=raise_error):
        inner[:] = [name for name in inner if not ignored(name)]
        inside = Path(root).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + name for name in files if not ignored(name) and os.path.splitext(name)[1].lower() in suffixes]
    return sorted(found)


def printable(name: str) -> str:
    """Return a file name with `?` for what cannot be encoded in UTF-8."""
    return name.encode("utf-8", "replace").decode("utf-8")
