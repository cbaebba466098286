"""`studygroup compare`."""

from __future__ import annotations

from studygroup.data.given import stored
from studygroup.options import CompareOptions
from studygroup.sweep.comparison import compare


def run(options: CompareOptions) -> dict[str, object]:
    """Train every method with every seed, and write the leaderboard."""
    return compare(stored(options))
