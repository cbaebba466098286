"""Runs -> rows: one per group of runs that differ in their seed only, with mean and standard deviation over the seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from studygroup.parameters import show
from studygroup.runs.reader import RunRecord, number, read_runs, section, values

NAMES = ("data", "method", "student")


def leaderboard(runs: Sequence[str | Path]) -> list[dict[str, object]]:
    """The leaderboard of some runs.

    Args:
        runs: run folders, finished or not.

    Returns:
        Rows of plain values, finished groups first: by data set, then by the selected student's test accuracy, best first. Accuracies
        are in [0, 1]; `X_std` beside a mean `X` is the sample standard deviation over seeds (ddof 1), None for a single seed. Keys:
        `data`, `method`, `student`, `settings` (what sets the group apart from others of the same three), `finished`, `seeds`, `runs`,
        `epochs` (planned), `epochs_done`, and the means `test` (of the student that the hold-out selected, at the epoch that it selected),
        `last_test` (of the member with the best hold-out at the last epoch), `members_test` (over the members, last epoch),
        `ensemble_test` (last epoch), `holdout` (of the selected), `diversity`, `seconds` (of training, all stages of the
        method), `parameters` (of the selected).

    Raises:
        UserError: a folder holds no run, or a damaged one.
    """
    groups = grouped(read_runs(runs))
    rows = [_row(members, settings) for (members, settings) in groups]
    return sorted(
        rows, key=lambda row: (not row["finished"], str(row["data"]), -_sortable(row["test"]), str(row["method"]), str(row["settings"]))
    )


def grouped(records: Iterable[RunRecord]) -> list[tuple[list[RunRecord], str]]:
    """Groups of runs that differ in their seed only, each with the settings that set it apart; every unfinished run stands alone."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        key = json.dumps([[record.name(name) for name in NAMES], record.identity], sort_keys=True, default=str)
        if record.result is None:
            key += str(record.folder)
        groups.setdefault(key, []).append(record)
    ordered = [sorted(members, key=lambda record: record.seed) for members in groups.values()]
    return [(members, _apart(members[0], [other[0] for other in ordered])) for members in ordered]


def label(record: RunRecord, settings: str) -> str:
    """A group's name in a picture's legend."""
    words = f"{record.name('method') or record.folder.name} ({record.name('student')})" if record.name("student") else record.name("method")
    return words + (f", {settings}" if settings else "") + ("" if record.result is not None else ", unfinished")


def _apart(record: RunRecord, firsts: Sequence[RunRecord]) -> str:
    """The settings in which a group differs from others of the same data, method and student."""
    rivals = [other for other in firsts if all(other.name(name) == record.name(name) for name in NAMES)]
    keys = sorted({key for other in rivals for key in other.identity} - set(NAMES))
    odd = [key for key in keys if any(other.identity.get(key) != record.identity.get(key) for other in rivals)]
    return ", ".join(f"{key.removeprefix('method.')}={_brief(record.identity.get(key))}" for key in odd)


def _brief(value: object) -> str:
    return "default" if value is None else show(value)


def _row(members: list[RunRecord], settings: str) -> dict[str, object]:
    first = members[0]
    row: dict[str, object] = {name: first.name(name) for name in NAMES}
    row["method"] = row["method"] or first.folder.name
    planned = number(first.result or first.settings, "epochs")
    row |= {
        "settings": settings,
        "finished": first.result is not None,
        "seeds": [member.seed for member in members],
        "runs": [str(member.folder) for member in members],
        "epochs": None if planned is None else int(planned),
        "epochs_done": min(len(member.epochs) for member in members),
    }
    measured = [measures(member) for member in members]
    for key in measured[0]:
        row[key], spread = mean_and_std([found[key] for found in measured])
        if key != "parameters":
            row[f"{key}_std"] = spread
    return row


def measures(record: RunRecord) -> dict[str, float | None]:
    """The numbers of one run; None where it has none."""
    result = record.result or {}
    selected, last = section(result, "selected"), section(result, "last")
    test = values(last, "test")
    of_members = [test[name] for name in record.candidates if name in test]
    return {
        "test": number(selected, "test"),
        "last_test": test.get(str(last.get("member"))),
        "members_test": statistics.fmean(of_members) if of_members else None,
        "ensemble_test": test.get("ensemble"),
        "holdout": number(selected, "holdout"),
        "diversity": number(last, "diversity"),
        "seconds": record.seconds,
        "parameters": values(result, "parameters").get(str(selected.get("member"))),
    }


def mean_and_std(numbers: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation; no mean where a run lacks the number, no deviation of a single one."""
    found = [value for value in numbers if value is not None]
    if not found or len(found) < len(numbers):
        return None, None
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None


def _sortable(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("-inf")
