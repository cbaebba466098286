"""Numbers of a run: what the cells of a study's table are read from.

| measure | number |
|---|---|
| `test`, `last_test`, `members_test`, `ensemble_test`, `holdout`, `diversity`, ... | as `studygroup.reporting.leaderboard.measures` |
| `member:NAME` | test accuracy of a member after the last epoch |
| `promoted:NAME` | part of the batches in which orc promotes a student, in the second half of the epochs |
| `trained_parameters` | number of parameters of everything that is trained, in millions |
| `noise:SIGMA` | test accuracy of the selected student with Gaussian noise on its parameters |
| `relative_noise:SIGMA` | the same with noise relative to the scale of each tensor |
| `sharing_ratio` | how much of their parameters two students share, in the mean |
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studygroup.reporting.leaderboard import measures
from studygroup.runs.reader import RunRecord, number, section, values

MILLION = 1e6
NOISE = ("noise", "relative_noise")


@dataclass(frozen=True)
class Unit:
    """How a measure is shown.

    Attributes:
        factor: from the stored value to the shown one.
        name: of the unit, for axes and headers.
        digits: after the point.
        points: what differences are in.
    """

    factor: float
    name: str
    digits: int
    points: str


PERCENT = Unit(100.0, "accuracy (%)", 2, "points")
DIVERSITY = Unit(1.0, "diversity", 3, "diversity")
PARAMETERS = Unit(1.0, "trained parameters (millions)", 3, "million")
RATIO = Unit(1.0, "sharing ratio", 3, "ratio")
PROMOTED = Unit(100.0, "promoted (% of batches)", 1, "points")
DISAGREEMENT = Unit(1.0, "disagreement / error", 3, "ratio")


def unit_of(measure: str) -> Unit:
    """Return how a measure is shown; what is not named otherwise is an accuracy."""
    if measure.startswith("promoted:"):
        return PROMOTED
    others = {"diversity": DIVERSITY, "trained_parameters": PARAMETERS, "sharing_ratio": RATIO, "disagreement_ratio": DISAGREEMENT}
    return others.get(measure, PERCENT)


def is_analysis(measure: str) -> bool:
    """Return whether a measure is computed from a run's networks, which takes a while."""
    return measure == "sharing_ratio" or measure.partition(":")[0] in NOISE


def read(record: RunRecord, measure: str) -> float | None:
    """Read a measure from a run's files, in its unit before the factor; None if the run does not have it."""
    result = record.result or {}
    kind, _, name = measure.partition(":")
    if kind == "member":
        return values(section(result, "last"), "test").get(name)
    if kind == "promoted":
        late = [values(epoch, "metrics").get(f"{name}/promoted") for epoch in record.epochs[len(record.epochs) // 2 :]]
        known = [share for share in late if share is not None]
        return statistics.fmean(known) if known and len(known) == len(late) else None
    if measure == "trained_parameters":
        count = number(result, measure)
        return None if count is None else count / MILLION
    return measures(record)[measure]


def analyse(folder: Path, wanted: Sequence[str], *, cache: str | Path | None, device: str) -> dict[str, float]:
    """Compute measures from a run's networks.

    Args:
        folder: of the run.
        wanted: measures that are computed so.
        cache: folder of prepared data.
        device: to compute on.
    """
    from studygroup.analysis import noise, sharing
    from studygroup.runs.member import Run

    run = Run(folder)
    found: dict[str, float] = {}
    for kind in NOISE:
        sigmas = sorted({float(name.partition(":")[2]) for name in wanted if name.partition(":")[0] == kind})
        if sigmas:
            by_sigma = noise.accuracy_under_noise(run, sigmas, relative=kind == NOISE[1], cache=cache, device=device)["best"]
            found |= {f"{kind}:{sigma:g}": statistics.fmean(draws) for sigma, draws in zip(sigmas, by_sigma, strict=True)}
    if "sharing_ratio" in wanted:
        found["sharing_ratio"] = sharing.sharing_ratio(run)
    return found
