"""Tables and plots of run folders. Reads files only, without torch."""

from __future__ import annotations

from studygroup.reporting.comparison import comparison
from studygroup.reporting.comparison_tables import render_comparison
from studygroup.reporting.evaluation_tables import render_classes, render_confusions, render_evaluations
from studygroup.reporting.leaderboard import leaderboard
from studygroup.reporting.tables import render_terminal, show_run
from studygroup.reporting.write import COMPARISON_FILES, FILES, write, write_comparison

__all__ = [
    "COMPARISON_FILES",
    "FILES",
    "comparison",
    "leaderboard",
    "render_classes",
    "render_comparison",
    "render_confusions",
    "render_evaluations",
    "render_terminal",
    "show_run",
    "write",
    "write_comparison",
]
