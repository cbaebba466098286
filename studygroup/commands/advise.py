"""`studygroup advise`."""

from __future__ import annotations

from typing import Any

from studygroup.advice.advise import advise
from studygroup.data.given import stored
from studygroup.options import AdviseOptions


def run(options: AdviseOptions) -> dict[str, Any]:
    """Find the best way to train on some data within a time limit."""
    return advise(stored(options))
