"""`studygroup train`."""

from __future__ import annotations

from studygroup.advice.auto import AUTO, train_auto
from studygroup.data.given import stored
from studygroup.options import TrainOptions
from studygroup.pipeline import train
from studygroup.runs.member import Run


def run(options: TrainOptions) -> Run:
    """Train a run and open it."""
    given = stored(options)
    return train_auto(given) if given.method == AUTO else train.train(given)
