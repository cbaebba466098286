"""`studygroup train`."""

from __future__ import annotations

from studygroup.data.given import stored
from studygroup.options import TrainOptions
from studygroup.pipeline import train
from studygroup.runs.member import Run


def run(options: TrainOptions) -> Run:
    """Train a run and open it."""
    return train.train(stored(options))
