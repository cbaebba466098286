"""The leaderboard and the curves, written to a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from studygroup.errors import UserError
from studygroup.reporting import tables

FILES = ("leaderboard.md", "leaderboard.csv", "curves.png")


def write(rows: Sequence[Mapping[str, object]], runs: Sequence[str | Path], out: str | Path) -> None:
    """Write `leaderboard.md`, `leaderboard.csv` and `curves.png`.

    Args:
        rows: what `leaderboard` returned.
        runs: the run folders, whose curves are drawn.
        out: the folder to write to; it is made if needed, and files of these names in it are replaced.

    Raises:
        UserError: `out` is a file.
    """
    from studygroup.reporting.curves import draw

    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the report")
    out.mkdir(parents=True, exist_ok=True)
    (out / FILES[0]).write_text(tables.render_markdown(rows), encoding="utf-8")
    (out / FILES[1]).write_text(tables.render_csv(rows), encoding="utf-8")
    draw(runs, out / FILES[2])
