"""Read what a run predicts on its test set, without torch. Whatever the files hold, the values are of their types afterwards."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studygroup.errors import UserError, one_line
from studygroup.runs.records import read_object

COLUMNS = ["sample", "name", "label", "predicted", "probability", "label_probability"]
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
MAX_PICTURE = 2**16  # characters
FORMATS = ("png", "jpeg")
REMEDY = "train the run again, or go without it"


@dataclass(frozen=True)
class Predictions:
    """The selected student's predictions for N samples.

    Attributes:
        names: of the samples.
        labels: true classes, as the file spells them.
        predicted: predicted classes.
        probability: of the predicted classes; nan where it is no number.
    """

    names: Sequence[str]
    labels: Sequence[str]
    predicted: Sequence[str]
    probability: Sequence[float]


@dataclass(frozen=True)
class MemberPredictions:
    """The predicted classes of all members, and of their ensemble, for N samples, at the last epoch.

    Attributes:
        labels: true classes, as the file spells them.
        by_member: predicted classes.
    """

    labels: Sequence[str]
    by_member: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Sample:
    """A sample to look at.

    Attributes:
        text: of a sample of texts.
        picture: `data:` address of a sample of images.
    """

    text: str | None = None
    picture: str | None = None


@dataclass(frozen=True)
class Samples:
    """Samples to look at.

    Attributes:
        mistakes: positions in the test set of the most confident mistakes.
        disputed: positions of samples on which the students disagree.
        shown: the samples by position.
    """

    mistakes: Sequence[int]
    disputed: Sequence[int]
    shown: Mapping[int, Sample]


def read_predictions(path: Path) -> Predictions:
    """Read `predictions/test.csv`.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    rows = _rows(path)
    return Predictions(
        names=[row[1] for row in rows],
        labels=[sys.intern(row[2]) for row in rows],
        predicted=[sys.intern(row[3]) for row in rows],
        probability=[_number(row[4]) for row in rows],
    )


def read_predicted(path: Path) -> list[str]:
    """Read the predicted classes of `predictions/test.csv`; errors as of `read_predictions`."""
    return [row[3] for row in _rows(path)]


def _rows(path: Path) -> list[list[str]]:
    header, rows = _read(path)
    if header != COLUMNS:
        raise UserError(f"{path} is damaged (it has no columns {', '.join(COLUMNS)}); {REMEDY}")
    return rows


def read_member_predictions(path: Path) -> MemberPredictions:
    """Read `predictions/members.csv`.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    header, rows = _read(path)
    if header[:2] != ["sample", "label"] or len(header) < 3:
        raise UserError(f"{path} is damaged (it has no columns sample, label and one of a member); {REMEDY}")
    columns = [[sys.intern(row[place]) for row in rows] for place in range(1, len(header))]
    return MemberPredictions(columns[0], dict(zip(header[2:], columns[1:], strict=True)))


def read_samples(path: Path) -> Samples:
    """Read `predictions/samples.json`; samples that are neither a text nor a small picture are left out.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    content = read_object(path, REMEDY)
    shown = content.get("samples")
    shown = shown if isinstance(shown, dict) else {}
    found = {int(place): _sample(value) for place, value in shown.items() if place.isdecimal() and isinstance(value, dict)}
    return Samples(_positions(content.get("mistakes")), _positions(content.get("disputed")), found)


def _sample(value: Mapping[str, Any]) -> Sample:
    if isinstance(value.get("text"), str):
        return Sample(text=value["text"])
    for kind in FORMATS:
        data = value.get(kind)
        if isinstance(data, str) and len(data) <= MAX_PICTURE and BASE64.fullmatch(data):
            return Sample(picture=f"data:image/{kind};base64,{data}")
    return Sample()


def _positions(value: object) -> list[int]:
    return [item for item in value if isinstance(item, int) and item >= 0] if isinstance(value, list) else []


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a CSV file, all of the same length."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            header, *rows = csv.reader(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {REMEDY}") from error
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); {REMEDY}") from error
    if set(map(len, rows)) - {len(header)}:
        raise UserError(f"{path} is damaged (its rows are not all of {len(header)} columns); {REMEDY}")
    return header, rows


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
