"""Write the report of a run, a comparison or a study."""

from __future__ import annotations

import logging
from pathlib import Path

from studygroup.atomic import write_atomically
from studygroup.pages.render import render
from studygroup.pages.run import run_page
from studygroup.runs.layout import REPORT


def write_run_page(folder: Path) -> Path:
    path = folder / REPORT
    write_atomically(path, render("run.html", run_page(folder)))
    return path
