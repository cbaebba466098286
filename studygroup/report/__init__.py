"""Run folders -> tables and pictures. Reads files only: no torch."""

from __future__ import annotations

from studygroup.report.leaderboard import leaderboard
from studygroup.report.tables import render_terminal, show_run
from studygroup.report.write import FILES, write

__all__ = ["FILES", "leaderboard", "render_terminal", "show_run", "write"]
