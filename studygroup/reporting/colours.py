"""Colours with one meaning in all pictures: how a network was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The palette of Okabe and Ito for all kinds of colour vision, without its pale yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
KINDS = {
    "alone": ("trained alone", "#333333"),
    "group": ("group of students", "#0072B2"),
    "distilled": ("taught by a trained teacher", "#D55E00"),
    "teacher": ("teacher", "#009E73"),
}
"""What is said of a kind in the legend, and its colour."""


def kind(row: Mapping[str, Any]) -> str:
    """Return the key in `KINDS` of a variant of a comparison."""
    if row["role"] == "teacher":
        return "teacher"
    if row["role"] == "baseline" or row["method"] == "baseline":
        return "alone"
    return "distilled" if row["teacher"] else "group"
