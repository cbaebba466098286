"""What is known of a member's predictions on a data set: scores by class, confusions, calibration. Needs no torch to be read.

Precision, recall and F1 are scikit-learn's. The calibration error is the expected calibration error of Guo et al. (2017), "On Calibration
of Modern Neural Networks": with 15 bins of equal width of the probability of the predicted class, the mean of |accuracy - mean
probability| over the bins, weighted by their samples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.atomic import write_atomically
from studygroup.errors import UserError
from studygroup.escape import shortened
from studygroup.regular import read_regular_text
from studygroup.runs.layout import RunFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 15
TOP = 5
SHOWN = 5
"""Number of classes and of confusions in the `repr`."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The predictions of a member for N samples.

    Attributes:
        labels: (N,) int64: the true classes.
        predicted: (N,) int64: the most probable classes.
        probability: (N,) float64: their probabilities.
        log_likelihood: (N,) float64: logarithms of the probabilities of the true classes.
        rank: (N,) int64: number of classes that are more probable than the true one.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    rank: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def invalid(self) -> int:
        """Number of samples whose prediction is no number."""
        import numpy as np

        return int((~np.isfinite(self.probability)).sum())


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of a member on a data set. What is not defined, such as the recall of a class without samples, is None.

    Attributes:
        classes: names of the C classes.
        samples: number of samples.
        accuracy: in [0, 1].
        top5: share of samples whose class is among the five most probable; None if there are at most five classes.
        negative_log_likelihood: mean over the samples, in nats.
        calibration_error: expected calibration error, in [0, 1] (see the module).
        precision: of each class: of the samples that were predicted to be of it, the share that is.
        recall: of each class: of its samples, the share that was predicted to be of it.
        f1: of each class: harmonic mean of the two.
        support: number of samples of each class.
        confusions: (true class, predicted class, number of samples) of all pairs that occur, as indices of classes.
    """

    classes: tuple[str, ...]
    samples: int
    accuracy: float
    top5: float | None
    negative_log_likelihood: float
    calibration_error: float
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    support: tuple[int, ...]
    confusions: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, outcomes: Outcomes, classes: Sequence[str]) -> Evaluation:
        """Evaluate predictions.

        Raises:
            UserError: there are none, or some are no numbers.
        """
        import numpy as np
        from sklearn.metrics import precision_recall_fscore_support

        samples = len(outcomes)
        if not samples:
            raise UserError("there are no samples to evaluate on; give data with some")
        if outcomes.invalid:
            raise UserError(
                f"{outcomes.invalid} of {samples} predictions are no numbers (nan), so they cannot be evaluated; "
                "the weights or the precision are at fault: train again in float32, or at a lower learning rate"
            )
        known = np.arange(len(classes))
        right = outcomes.predicted == outcomes.labels
        table = precision_recall_fscore_support(outcomes.labels, outcomes.predicted, labels=known, zero_division=np.nan)
        # Pairs that occur: a dense matrix of 10,000 classes would have 800 MB.
        pairs, counts = np.unique(outcomes.labels * len(classes) + outcomes.predicted, return_counts=True)
        columns = [tuple(None if math.isnan(value) else float(value) for value in column) for column in table[:3]]
        return cls(
            classes=tuple(classes),
            samples=samples,
            accuracy=float(right.mean()),
            top5=float((outcomes.rank < TOP).mean()) if len(classes) > TOP else None,
            negative_log_likelihood=float(-outcomes.log_likelihood.mean()),
            calibration_error=calibration_error(outcomes.probability, right),
            precision=columns[0],
            recall=columns[1],
            f1=columns[2],
            support=tuple(int(count) for count in table[3]),
            confusions=tuple((*divmod(int(pair), len(classes)), int(count)) for pair, count in zip(pairs, counts, strict=True)),
        )

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Evaluation:
        """Create it from JSON's types.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of another type.
        """
        values = {field.name: content[field.name] for field in fields(cls)}
        classes = [str(name) for name in values["classes"]]
        known = range(len(classes))
        precision, recall, f1 = (_numbers(values[name]) for name in ("precision", "recall", "f1"))
        support = tuple(int(count) for count in values["support"])
        confusions = tuple((int(true), int(predicted), int(count)) for true, predicted, count in values["confusions"])
        if any(len(column) != len(classes) for column in (precision, recall, f1, support)):
            raise ValueError("its lists are not of one value per class")
        if any(true not in known or predicted not in known for true, predicted, _ in confusions):
            raise ValueError("it confuses classes that it has not")
        return cls(
            classes=tuple(classes),
            samples=int(values["samples"]),
            accuracy=float(values["accuracy"]),
            top5=_numbers([values["top5"]])[0],
            negative_log_likelihood=float(values["negative_log_likelihood"]),
            calibration_error=float(values["calibration_error"]),
            precision=precision,
            recall=recall,
            f1=f1,
            support=support,
            confusions=confusions,
        )

    def to_plain(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def macro_f1(self) -> float | None:
        """Mean of F1 over the classes that have samples."""
        found = [value for value, count in zip(self.f1, self.support, strict=True) if count and value is not None]
        return sum(found) / len(found) if found else None

    @property
    def confusion_matrix(self) -> NDArray[np.int64]:
        """(C, C) numbers of samples: rows are true classes, columns predicted ones."""
        import numpy as np

        matrix = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        for true, predicted, count in self.confusions:
            matrix[true, predicted] = count
        return matrix

    def weakest(self) -> list[int]:
        """Return the classes that have samples, the lowest F1 first."""
        return sorted((c for c, count in enumerate(self.support) if count), key=lambda c: (self.f1[c] or 0.0, -self.support[c]))

    def most_confused(self) -> list[tuple[int, int, int]]:
        """Return the pairs of classes that are confused, the most frequent first, as in `confusions`."""
        return sorted((pair for pair in self.confusions if pair[0] != pair[1]), key=lambda pair: (-pair[2], pair))

    def summary(self) -> str:
        """Return the scores of all classes together in a line."""
        scores = [f"accuracy {self.accuracy:.2%}"]
        scores += [] if self.top5 is None else [f"top-5 {self.top5:.2%}"]
        scores += [] if self.macro_f1 is None else [f"mean F1 {self.macro_f1:.3f}"]
        scores += [
            f"negative log-likelihood {self.negative_log_likelihood:.4f}",
            f"calibration error {self.calibration_error:.2%}",
            f"{self.samples:,} samples",
        ]
        return ", ".join(scores)

    def __repr__(self) -> str:
        """Return the summary, the weakest classes and the most frequent confusions."""
        name = [shortened(label, 30) for label in self.classes]
        weakest = ", ".join(f"{name[c]} {self.f1[c] or 0.0:.3f} ({self.support[c]})" for c in self.weakest()[:SHOWN])
        confused = ", ".join(f"{name[true]} -> {name[predicted]} ({count})" for true, predicted, count in self.most_confused()[:SHOWN])
        return f"Evaluation({self.summary()}; lowest F1: {weakest}; most confused: {confused or 'none'})"


def _numbers(values: Iterable[Any]) -> tuple[float | None, ...]:
    return tuple(None if value is None else float(value) for value in values)


def calibration_error(probability: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of N predictions.

    Args:
        probability: (N,) of the predicted classes, in [0, 1].
        right: (N,) whether these are the true classes.
    """
    import numpy as np

    bins = np.clip(np.ceil(probability * BINS).astype(np.int64) - 1, 0, BINS - 1)  # (0, 1/15], (1/15, 2/15], ...
    gaps = np.bincount(bins, weights=right - probability, minlength=BINS)  # samples x (accuracy - mean probability)
    return float(np.abs(gaps).sum() / len(probability))


def write_evaluations(files: RunFiles, found: Mapping[str, Evaluation]) -> None:
    """Write the evaluations of members by name; one value per line, as numbers of many classes are many."""
    members = []
    for name, evaluation in found.items():
        values = ",\n".join(
            f"    {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in evaluation.to_plain().items()
        )
        members.append(f"  {json.dumps(name)}: {{\n{values}\n  }}")
    write_atomically(files.evaluation, ("{\n" + ",\n".join(members) + "\n}\n").encode("utf-8", "replace"))


def read_evaluations(folder: Path) -> dict[str, Evaluation]:
    """Read the evaluations of a run by member; empty if it has none, as a run of an earlier version or without a test set.

    Raises:
        UserError: the file is damaged.
    """
    path = RunFiles(folder).evaluation
    if not path.is_file():
        return {}
    try:
        return {str(name): Evaluation.from_plain(content) for name, content in json.loads(read_regular_text(path)).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is damaged; delete it, and evaluate the run anew with `studygroup evaluate {folder}`") from error
