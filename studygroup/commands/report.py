"""`studygroup report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studygroup import pages, reporting
from studygroup.errors import TrainingError, UserError
from studygroup.options import ReportOptions


def run(options: ReportOptions) -> list[dict[str, Any]]:
    """Write the report of each folder; compute the leaderboard of those that are runs, and write it if a folder is given."""
    folders = list({Path(folder).resolve(): Path(folder) for folder in options.runs}.values())
    out = None if options.out is None else Path(options.out)
    kinds = {folder: pages.kind_of(folder) for folder in folders}
    runs = [folder for folder in folders if kinds[folder] == "run"]
    rows: list[dict[str, Any]] = list(reporting.leaderboard(runs)) if runs or not folders else []
    if out is not None and runs:
        reporting.write(rows, runs, out)
    written = write_pages(folders, runs, out)
    for row in rows:
        row["report"] = list(dict.fromkeys(str(written[Path(run)]) for run in row["runs"]))
    rows += [
        {"kind": kinds[folder], "folder": str(folder), "report": [str(written[folder])]} for folder in folders if kinds[folder] != "run"
    ]
    if out is not None and len(runs) > 1:
        pages.write_runs_page(runs, out)
    return rows


def write_pages(folders: Sequence[Path], runs: Sequence[Path], out: Path | None) -> dict[Path, Path]:
    """Write the report of each folder: into `out` if there is only one, else into the folder itself.

    Raises:
        UserError: it cannot be written.
    """
    alone = out is not None and len(folders) == 1
    try:
        return {folder: pages.write_page(folder, out if alone else None) for folder in folders}
    except TrainingError as error:
        raise UserError(f"{str(error).partition(';')[0]}; name one folder, and another one for its report by --out") from error
