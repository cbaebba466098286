"""Run folders -> tables and pictures. Reads files only: no torch."""

from __future__ import annotations

from studygroup.reporting.leaderboard import leaderboard
from studygroup.reporting.tables import render_terminal, show_run
from studygroup.reporting.write import FILES, write

__all__ = ["FILES", "leaderboard", "render_terminal", "show_run", "write"]
