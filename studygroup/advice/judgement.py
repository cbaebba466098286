"""What accuracies on hold-out sets say: noise, ties, the winner, and what the curves of the student alone show.

Two candidates are compared seed by seed, on the same hold-out samples. With differences d of n seeds, error rates e_1 and e_2, and N
hold-out samples per seed, the standard error of the mean difference is sqrt(v / n) with

    v = (v_0 + (n - 1) s^2) / n,    v_0 = (e_1 + e_2) / N

s^2 is the sample variance of d; v_0 is the binomial variance of a difference if the two err on different samples, which is an upper
limit. The mean of the two weights them by their degrees of freedom, as if v_0 were one seed's: two or three seeds alone say little about
s, and may be equal by chance. The 95% interval is that of Student's t with n degrees of freedom.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studygroup.reporting.student_t import quantile
from studygroup.runs.reader import RunRecord, values

TIE = 0.003
"""Accuracies that differ by less, and by less than a standard error, are tied: the cheaper candidate wins."""
RISES, GAP = 1.1, 2.0
"""Hold-out cross-entropy over its lowest value, and over the training loss, from which on a network over-fits."""


@dataclass(frozen=True)
class Scored:
    """A candidate's accuracies on the hold-out sets.

    Attributes:
        name: of the candidate.
        holdout: accuracy in [0, 1] by seed.
        samples: hold-out samples of a seed.
        inference: operations of a prediction.
        training: operations of its training, its teacher's included.
        alone: whether it is the student alone.
    """

    name: str
    holdout: Mapping[int, float]
    samples: int
    inference: float
    training: float
    alone: bool = False

    @property
    def mean(self) -> float:
        """The mean accuracy over the seeds."""
        return statistics.fmean(self.holdout.values())


def differences(one: Scored, other: Scored) -> list[float]:
    """Return the differences of the seeds that both have."""
    return [accuracy - other.holdout[seed] for seed, accuracy in one.holdout.items() if seed in other.holdout]


def standard_error(one: Scored, other: Scored) -> float:
    """Return the standard error of the mean difference of two candidates (see above)."""
    d = differences(one, other)
    n = len(d)
    binomial = ((1 - one.mean) + (1 - other.mean)) / one.samples
    sample = statistics.variance(d) if n > 1 else 0.0
    return math.sqrt((binomial + (n - 1) * sample) / n / n)


def interval(one: Scored, other: Scored) -> tuple[float, float, float]:
    """Return the mean difference of two candidates with its 95% interval: mean, lower and upper end."""
    d = differences(one, other)
    mean, reach = statistics.fmean(d), quantile(0.95, len(d)) * standard_error(one, other)
    return mean, mean - reach, mean + reach


def gains(longer: Scored, shorter: Scored) -> bool:
    """Return whether the longer training is better by more than the noise."""
    return statistics.fmean(differences(longer, shorter)) > standard_error(longer, shorter)


def tied(one: Scored, best: Scored) -> bool:
    """Return whether a candidate is as good as the best one, as far as it matters and can be seen."""
    behind = -statistics.fmean(differences(one, best))
    return behind < TIE and behind <= standard_error(one, best)


def choose(scored: Sequence[Scored]) -> Scored:
    """Return the best candidate; of those tied with it, the cheapest to predict, then the student alone, then the cheapest to train.

    Within a rung all trainings cost the same but for what rounding to whole epochs leaves: this must not decide for a method.
    """
    best = min(scored, key=lambda one: (-one.mean, one.inference, not one.alone, one.training))
    equals = [one for one in scored if one is best or tied(one, best)]
    return min(equals, key=lambda one: (one.inference, not one.alone, one.training, -one.mean))


def better_half(scored: Sequence[Scored], keep: int) -> list[str]:
    """Return the names of the best candidates, best first; equal ones by their costs."""
    ranked = sorted(scored, key=lambda one: (-one.mean, one.inference, one.training))
    return [one.name for one in ranked[:keep]]


@dataclass(frozen=True)
class Curves:
    """What the curves of the student alone show at the end of its training, means over seeds.

    Attributes:
        training_loss: cross-entropy of the last epoch's training samples, with the augmentation and smoothing of the training.
        holdout_loss: cross-entropy on the hold-out after the last epoch.
        lowest_holdout_loss: the lowest of any epoch.
        verdict: `under-fitted`, `over-fitting` or `fitted`.
    """

    training_loss: float
    holdout_loss: float
    lowest_holdout_loss: float
    verdict: str


def read_curves(runs: Sequence[RunRecord], *, finished: bool) -> Curves:
    """Read the curves of finished runs of the student alone.

    Args:
        runs: of all seeds, with a hold-out.
        finished: whether twice the epochs gained no more than noise.
    """
    ends = [record.epochs[-1] for record in runs]
    training = statistics.fmean(statistics.fmean(values(end, "losses").values()) for end in ends)
    last = statistics.fmean(min(values(end, "holdout_cross_entropy").values()) for end in ends)
    lowest = statistics.fmean(min(min(values(epoch, "holdout_cross_entropy").values()) for epoch in record.epochs) for record in runs)
    over = last > RISES * lowest or last > GAP * training
    return Curves(training, last, lowest, "under-fitted" if not finished else "over-fitting" if over else "fitted")


def wilson(correct: float, samples: int) -> tuple[float, float]:
    """Return the 95% interval of an accuracy measured on some samples (Wilson, 1927)."""
    z = 1.959964
    middle = (correct + z * z / (2 * samples)) / (1 + z * z / samples)
    reach = z / (1 + z * z / samples) * math.sqrt(correct * (1 - correct) / samples + z * z / (4 * samples * samples))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)
