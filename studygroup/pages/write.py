"""Write the report of a run, a comparison or a study."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from studygroup.atomic import write_atomically
from studygroup.errors import UserError
from studygroup.pages.comparison import comparison_page
from studygroup.pages.render import render
from studygroup.pages.run import run_page
from studygroup.pages.runs import runs_page
from studygroup.pages.study import study_page
from studygroup.runs.layout import REPORT, ComparisonFiles, RunFiles, StudyFiles

PAGES: Mapping[str, Callable[[Path], object]] = {"run": run_page, "comparison": comparison_page, "study": study_page}
"""Kind of a folder -> what gathers its page, of which the template has the same name."""
logger = logging.getLogger(__name__)


def kind_of(folder: Path) -> str:
    """Return whether a folder holds a run, a comparison or a study.

    Raises:
        UserError: it holds none.
    """
    kind = _kind(folder)
    if kind is not None:
        return kind
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of a run, a comparison or a study")
    inside = sorted(child.name for child in folder.iterdir() if child.is_dir() and _kind(child) is not None)
    hint = f"did you mean {folder / inside[0]}?" if inside else "give the folder that `studygroup train`, `compare` or `study` made"
    raise UserError(f"{folder} holds no run, comparison or study; {hint}")


def _kind(folder: Path) -> str | None:
    if StudyFiles(folder).recipe.is_file() or StudyFiles(folder).result.is_file():
        return "study"
    if ComparisonFiles(folder).manifest.is_file():
        return "comparison"
    return "run" if RunFiles(folder).exists() else None


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a folder.

    Args:
        folder: of a run, finished or not, of a comparison or of a study.
        out: folder to write to; the same one by default.

    Returns:
        The file.

    Raises:
        UserError: the folder holds something else, or a damaged file.
        TrainingError: the file cannot be written.
    """
    kind = kind_of(folder)
    path = (out or folder) / REPORT
    write_atomically(path, render(f"{kind}.html", PAGES[kind](folder)))
    return path


def write_runs_page(runs: Sequence[Path], out: Path) -> Path:
    """Write the page that compares several runs; arguments and errors as of `runs_page`."""
    path = out / REPORT
    write_atomically(path, render("runs.html", runs_page(runs, out)))
    return path


def try_to_write_page(folder: Path) -> Path | None:
    """Write the report of a folder whose training must not fail by it; log what went wrong, and return None."""
    try:
        return write_page(folder)
    except Exception as error:  # noqa: BLE001 (what was trained is worth more than its report)
        logger.warning("note: no report of %s was written: %s: %s", folder, type(error).__name__, " ".join(str(error).split()))
        return None
