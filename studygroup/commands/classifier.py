"""What `evaluate` and `predict` classify with: a member of a run, or an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studygroup.errors import UserError
from studygroup.exporting.model import ExportedModel, is_exported
from studygroup.runs.member import BEST, Run
from studygroup.runs.predict import Classifier

ALL = "all"


def open_classifier(path: str | Path, member: str, allow_code: Sequence[str] = ()) -> Classifier:
    """Open a member of a run folder, or an exported file.

    Args:
        path: of the folder or the file.
        member: of the run.
        allow_code: import paths of networks that the run's files may name.

    Raises:
        UserError: there is no such run or member, or the file cannot be used.
    """
    if not is_exported(path):
        return Run(path, allow_code).member(member)
    if member != BEST:
        raise UserError(f"{path} is an exported file, which has no member {member}; leave it out, or give the run folder")
    return ExportedModel(path)


def open_classifiers(path: str | Path, members: Sequence[str], allow_code: Sequence[str] = ()) -> dict[str, Classifier]:
    """Open members of a run folder by name, `all` for all of them, or an exported file under its own name; see `open_classifier`.

    Raises:
        UserError: see `open_classifier`.
    """
    if not is_exported(path):
        names = [name for name in Run(path).names() if name != BEST] if ALL in members else members
        return {name: open_classifier(path, name, allow_code) for name in names}
    return {Path(path).expanduser().absolute().name: open_classifier(path, member) for member in members}
