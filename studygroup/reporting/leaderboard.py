"""Runs -> rows: one per group of runs that differ in their seed only, with mean and standard deviation over the seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from studygroup.parameters import show
from studygroup.runs.reader import RunRecord, number, read_runs, section, values

NAMES = ("data", "method", "student")


def leaderboard(runs: Sequence[str | Path]) -> list[dict[str, object]]:
    """Compute the leaderboard of some runs.

    Args:
        runs: run folders, finished or not.

    Returns:
        Rows of plain values, finished groups first: by data set, then by the selected student's test accuracy, best first. Accuracies
        are in [0, 1]; `X_std` beside a mean `X` is the sample standard deviation over seeds (ddof 1), None for a single seed. Keys:
        `data`, `method`, `student`, `settings` (in which the group differs from others of the same three), `finished`, `seeds`, `runs`,
        `epochs` (planned), `epochs_done`, and the means `test` (of the student and epoch selected on the hold-out set), `last_test` (of
        the member that is best on the hold-out set at the last epoch), `members_test` (over the members, last epoch), `ensemble_test`
        (last epoch), `holdout`, `top5`, `macro_f1`, `negative_log_likelihood` and `calibration_error` (of the selected student, the last
        four on the test set), `diversity`, `disagreement_ratio`, `seconds` (of training, all stages of the method),
        `parameters` (of the selected student).

    Raises:
        UserError: a folder holds no run, or a damaged one.
    """
    groups = grouped(read_runs(runs))
    rows = [_row(members, settings) for (members, settings) in groups]
    return sorted(
        rows, key=lambda row: (not row["finished"], str(row["data"]), -_sortable(row["test"]), str(row["method"]), str(row["settings"]))
    )


def grouped(records: Iterable[RunRecord]) -> list[tuple[list[RunRecord], str]]:
    """Group runs that differ in their seed only, each with the settings that distinguish it; an unfinished run is its own group."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        key = json.dumps([[record.name(name) for name in NAMES], record.identity], sort_keys=True, default=str)
        if record.result is None:
            key += str(record.folder)
        groups.setdefault(key, []).append(record)
    ordered = [sorted(members, key=lambda record: record.seed) for members in groups.values()]
    return [(members, _differing(members[0], [other[0] for other in ordered])) for members in ordered]


def label(record: RunRecord, settings: str) -> str:
    """Return a group's name for the legend of a plot."""
    name = f"{record.name('method') or record.folder.name} ({record.name('student')})" if record.name("student") else record.name("method")
    return name + (f", {settings}" if settings else "") + ("" if record.result is not None else ", unfinished")


def _differing(record: RunRecord, firsts: Sequence[RunRecord]) -> str:
    """Return the settings in which a group differs from others of the same data, method and student."""
    others = [other for other in firsts if all(other.name(name) == record.name(name) for name in NAMES)]
    keys = sorted({key for other in others for key in other.identity} - set(NAMES))
    odd = [key for key in keys if any(other.identity.get(key) != record.identity.get(key) for other in others)]
    return ", ".join(f"{key.removeprefix('method.')}={_shown(record.identity.get(key))}" for key in odd)


def _shown(value: object) -> str:
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
        row[key], std = mean_and_std([found[key] for found in measured])
        if key != "parameters":
            row[f"{key}_std"] = std
    return row


def measures(record: RunRecord) -> dict[str, float | None]:
    """Return the measured values of one run; None for missing ones."""
    result = record.result or {}
    selected, last = section(result, "selected"), section(result, "last")
    test = values(last, "test")
    evaluation = record.evaluations.get("best")
    of_members = [test[name] for name in record.candidates if name in test]
    return {
        "test": number(selected, "test"),
        "last_test": test.get(str(last.get("member"))),
        "members_test": statistics.fmean(of_members) if of_members else None,
        "ensemble_test": test.get("ensemble") if number(last, "diversity") is not None else None,  # of several students
        "holdout": number(selected, "holdout"),
        **{name: getattr(evaluation, name, None) for name in ("top5", "macro_f1", "negative_log_likelihood", "calibration_error")},
        "diversity": number(last, "diversity"),
        "disagreement_ratio": disagreement_ratio(record, test),
        "seconds": record.seconds,
        "parameters": values(result, "parameters").get(str(selected.get("member"))),
    }


def disagreement_ratio(record: RunRecord, test: Mapping[str, float]) -> float | None:
    """Return the students' disagreement over their mean error, at the last epoch; on the hold-out if `test`, the accuracies, is empty.

    Above about 1 the students err on different samples, and their ensemble pays (Theisen et al., NeurIPS 2023, arXiv:2305.12313).
    """
    epoch = record.epochs[-1] if record.epochs else {}
    accuracies = test or values(epoch, "holdout")
    differ = number(section(record.result or {}, "last") if test else epoch, "disagreement")
    errors = [1 - accuracy for name, accuracy in accuracies.items() if name.startswith("student")]
    return None if differ is None or not sum(errors) else differ / statistics.fmean(errors)


def mean_and_std(numbers: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return mean and sample standard deviation; None if a number is missing, no deviation for a single number."""
    found = [value for value in numbers if value is not None]
    if not found or len(found) < len(numbers):
        return None, None
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None


def _sortable(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("-inf")
