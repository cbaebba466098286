"""Verdicts on claims. The rule is here and nowhere else.

A statement says that a quantity is above 0: a paired difference, a slope, a correlation. It *holds* if its 95% interval over seeds
(Student's t) lies above 0, is *opposite* if the interval lies below 0, and is *undecided* otherwise, also without an interval.

A claim of several statements holds if every statement holds. It is opposite if some statement is opposite even by the wider interval that
keeps the error of all together at 5% (Bonferroni: confidence 1 - 0.05 / m for m statements), so that one of many is not counted by chance.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from studygroup.reporting.student_t import interval

Verdict = Literal["holds", "opposite", "undecided"]
ERROR = 0.05
"""Probability with which an interval misses."""


@dataclass(frozen=True)
class Evidence:
    """A statement with its evidence.

    Attributes:
        text: of the statement: that something is above 0.
        mean: estimate; None without runs.
        low: lower end of the 95% interval; None without one.
        high: its upper end.
        by_seed: the value of each seed, if it has values by seed.
        published: the same quantity from the paper's numbers; None if it prints none.
        verdict: on the statement alone.
        reason: why it is undecided, unless the interval says so.
    """

    text: str
    mean: float | None
    low: float | None
    high: float | None
    by_seed: Mapping[int, float] = field(default_factory=dict)
    published: float | None = None
    verdict: Verdict = "undecided"
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)


def of_differences(text: str, by_seed: Mapping[int, float], *, published: float | None = None, missing: Sequence[str] = ()) -> Evidence:
    """Test a statement that has a value for each seed.

    Args:
        text: of the statement.
        by_seed: its values.
        published: the paper's.
        missing: cells without any run.
    """
    values = list(by_seed.values())
    mean = statistics.fmean(values) if values else None
    low, high = interval(values) or (None, None)
    reason = ""
    if missing:
        reason = f"there is no run of {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
    elif len(values) < 2:
        reason = "one seed has no interval; run more --seeds" if values else "no seed has all of its runs"
    return Evidence(text, mean, low, high, by_seed, published, verdict_of(low, high), reason)


def of_interval(text: str, mean: float | None, low: float | None, high: float | None, *, missing: Sequence[str] = ()) -> Evidence:
    """Test a statement whose interval is computed elsewhere; None for one that cannot be computed."""
    reason = f"there is no run of {', '.join(missing[:3])}" if missing else "" if low is not None else "there are too few values"
    return Evidence(text, mean, low, high, verdict=verdict_of(low, high), reason=reason)


def verdict_of(low: float | None, high: float | None) -> Verdict:
    """Return the verdict on a statement from the interval of a quantity that it claims to be above 0."""
    if low is None or high is None:
        return "undecided"
    return "holds" if low > 0 else "opposite" if high < 0 else "undecided"


def joint(parts: Sequence[Evidence]) -> tuple[Verdict, str]:
    """Return the verdict on a claim of several statements, and the reason of one that is undecided for want of runs."""
    if parts and all(part.verdict == "holds" for part in parts):
        return "holds", ""
    if any(_opposite(part, len(parts)) for part in parts):
        return "opposite", ""
    reasons = list(dict.fromkeys(part.reason for part in parts if part.reason)) or ([] if parts else ["nothing of it is run at this scale"])
    return "undecided", "; ".join(reasons)


def _opposite(part: Evidence, statements: int) -> bool:
    if statements == 1 or not part.by_seed:
        return part.verdict == "opposite"
    wide = interval(list(part.by_seed.values()), 1 - ERROR / statements)
    return wide is not None and wide[1] < 0
