"""Tables and plots of run folders. Reads files only, without torch."""

from __future__ import annotations

from studygroup.reporting.advice import render_advice, write_texts
from studygroup.reporting.comparison import LINEAR, comparison
from studygroup.reporting.comparison_tables import render_comparison
from studygroup.reporting.evaluation_tables import render_classes, render_confusions, render_evaluations
from studygroup.reporting.leaderboard import leaderboard
from studygroup.reporting.study import render_study
from studygroup.reporting.tables import render_terminal, show_run
from studygroup.reporting.write import COMPARISON_FILES, FILES, write, write_advice, write_comparison, write_study

__all__ = [
    "COMPARISON_FILES",
    "FILES",
    "LINEAR",
    "comparison",
    "leaderboard",
    "render_advice",
    "render_classes",
    "render_comparison",
    "render_confusions",
    "render_evaluations",
    "render_study",
    "render_terminal",
    "show_run",
    "write",
    "write_advice",
    "write_comparison",
    "write_study",
    "write_texts",
]
