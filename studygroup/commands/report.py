"""`studygroup report`."""

from __future__ import annotations

from studygroup import reporting
from studygroup.options import ReportOptions


def run(options: ReportOptions) -> list[dict[str, object]]:
    """Compute the leaderboard of some runs, and write it if a folder is given."""
    rows = reporting.leaderboard(options.runs)
    if options.out is not None:
        reporting.write(rows, options.runs, options.out)
    return rows
