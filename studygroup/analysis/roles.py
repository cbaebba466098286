"""Who was promoted, and what the pivot was fed, over the epochs of a run of `orc` (Choi et al., 2022). It needs no torch."""

from __future__ import annotations

from pathlib import Path

from studygroup.errors import UserError
from studygroup.runs.reader import RunRecord, number, read_run, values


def promotions(folder: str | Path) -> dict[str, list[int]]:
    """Return, by student, in how many steps of each epoch it was promoted to a temporary teacher.

    Args:
        folder: of the run, finished or not.

    Raises:
        UserError: it holds no run, or the run does not say who was promoted.

    Example:
        >>> from studygroup.analysis import roles
        >>> promoted = roles.promotions("runs/orc")  # of two epochs of two steps
        >>> [sum(epoch) for epoch in zip(*promoted.values())]
        [2, 2]
    """
    run = read_run(folder)
    steps = [number(epoch, "steps") or 0.0 for epoch in run.epochs]
    return {
        name: [round(share * count) for share, count in zip(shares, steps, strict=True)]
        for name, shares in _series(run, "promoted").items()
    }


def feedback_shares(folder: str | Path) -> dict[str, list[float]]:
    """Return, by student, the mean fraction of the samples fed back in an epoch that the student contributed.

    Args:
        folder: of the run, finished or not.

    Raises:
        UserError: it holds no run, or the run does not say who fed back what.

    Example:
        >>> from studygroup.analysis import roles
        >>> sorted(roles.feedback_shares("runs/orc"))
        ['student0', 'student1', 'student2']
    """
    return _series(read_run(folder), "fed")


def _series(run: RunRecord, metric: str) -> dict[str, list[float]]:
    """Return a metric of every student by epoch."""
    epochs = [values(epoch, "metrics") for epoch in run.epochs]
    names = sorted({name for epoch in epochs for name in epoch if name.endswith(f"/{metric}")})
    if not names:
        reason = "has no epoch yet" if not epochs else f"has no metric {metric}"
        raise UserError(f"{run.folder} {reason}; give a run of orc that this version trained, with feedback if that is asked for")
    return {name.rpartition("/")[0]: [epoch.get(name, 0.0) for epoch in epochs] for name in names}
