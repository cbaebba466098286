"""Write leaderboards and plots to a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studygroup.atomic import write_atomically
from studygroup.errors import UserError
from studygroup.reporting import comparison_tables, tables
from studygroup.reporting.advice import render_advice_markdown
from studygroup.reporting.comparison import comparison
from studygroup.reporting.study import render_study_csv, render_study_markdown
from studygroup.runs.files import write_json
from studygroup.runs.layout import AdviceFiles, StudyFiles

FILES = ("leaderboard.md", "leaderboard.csv", "curves.png", "metrics.png")
COMPARISON_FILES = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "leaderboard.png", "curves.png", "metrics.png")
"""The last one is written if methods report more than losses."""


def write(rows: Sequence[Mapping[str, object]], runs: Sequence[str | Path], out: str | Path) -> None:
    """Write `leaderboard.md`, `leaderboard.csv` and `curves.png`, and `metrics.png` if methods report more than losses.

    Args:
        rows: as returned by `leaderboard`.
        runs: run folders whose curves are drawn.
        out: folder to write to; it is created if needed, and files of these names are overwritten.

    Raises:
        UserError: `out` is a file, or cannot be written to.
    """
    from studygroup.reporting.curves import draw
    from studygroup.reporting.metrics_plot import draw_metrics

    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the report")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / FILES[0]).write_text(tables.render_markdown(rows), encoding="utf-8")
        (out / FILES[1]).write_text(tables.render_csv(rows), encoding="utf-8")
        draw(runs, out / FILES[2])
        draw_metrics(runs, out / FILES[3])
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; take another --out") from error


def write_comparison(folder: str | Path) -> None:
    """Write the leaderboard of a comparison (Markdown, CSV, JSON and a plot) and the curves of its runs to its folder.

    Args:
        folder: of the comparison, with at least one finished run.

    Raises:
        UserError: the folder holds no comparison.
    """
    from studygroup.reporting.comparison_plot import draw_comparison
    from studygroup.reporting.comparison_tables import scored
    from studygroup.reporting.curves import draw
    from studygroup.reporting.metrics_plot import draw_metrics

    folder = Path(folder)
    result = comparison(folder)
    rows: Sequence[Mapping[str, Any]] = result["rows"]
    write_atomically(folder / COMPARISON_FILES[0], comparison_tables.render_comparison_markdown(result).encode())
    write_atomically(folder / COMPARISON_FILES[1], tables.render_csv(rows).encode())
    write_json(folder / COMPARISON_FILES[2], result)
    if scored(result):
        draw_comparison(result, folder / COMPARISON_FILES[3])
    runs = [folder / str(run) for row in rows for run in row["runs"]]
    draw(runs, folder / COMPARISON_FILES[4], rows)
    draw_metrics(runs, folder / COMPARISON_FILES[5])


def write_advice(folder: str | Path, advice: Mapping[str, Any]) -> None:
    """Write an advice to its folder: `advice.md` with its picture, and then `advice.json`.

    Args:
        folder: of the advice.
        advice: as `studygroup.advise` returns it.
    """
    from studygroup.reporting.advice_plot import draw_advice

    files = AdviceFiles(Path(folder))
    draw_advice(advice, files.picture)
    write_atomically(files.page, render_advice_markdown(advice).encode())
    write_json(files.result, advice)


def write_study(folder: str | Path, study: Mapping[str, Any]) -> None:
    """Write a study to its folder: its page with the figure (PNG and SVG), its numbers as CSV, and then `study.json`.

    Args:
        folder: of the study.
        study: as `studygroup.study` returns it.
    """
    from studygroup.reporting.study_plot import draw_study

    files = StudyFiles(Path(folder))
    draw_study(study, [files.figure("png"), files.figure("svg")])
    write_atomically(files.table, render_study_csv(study).encode())
    write_atomically(files.page, render_study_markdown(study).encode())
    write_json(files.result, study)
