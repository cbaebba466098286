"""What ranks record of their batches -> predictions in the order of the samples."""

from __future__ import annotations

import json
from typing import cast

import numpy as np
import pytest
import torch

from studygroup.data import Images, Split, evaluation_batches
from studygroup.data.texts.ragged import Ragged
from studygroup.data.transforms import TokenTransform
from studygroup.distributed.context import DistContext
from studygroup.training.evaluate import Predicted, in_reading_order


class Ranks:
    """Ranks that have recorded something."""

    def __init__(self, recorded: list[list[Predicted]]) -> None:
        self.recorded = recorded

    def all_gather_object(self, own: object) -> list[object]:
        json.dumps(own)  # it can be sent
        return [[{name: found.tolist() for name, found in batch.items()} for batch in recorded] for recorded in self.recorded]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("texts", [False, True])
def test_every_sample_keeps_its_prediction(ranks: int, texts: bool) -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(23, dtype=np.int64)
    images = draw.integers(0, 255, (23, 1, 2, 2), dtype=np.uint8)
    tokens = Ragged.of([draw.integers(1, 9, length) for length in draw.integers(1, 40, 23)]) if texts else None
    split = Split(images if tokens is None else tokens, labels)
    transform = TokenTransform(torch.device("cpu")) if texts else Images((1, 2, 2), (0.5,), (0.5,)).transform()
    batches = [{"student0": found} for _, found in evaluation_batches(split, transform, 4)]
    recorded = [batches[rank::ranks] for rank in range(ranks)]
    found = in_reading_order(recorded[0], split, cast(DistContext, Ranks(recorded)))
    assert found["student0"].tolist() == labels.tolist()


def test_without_a_test_set_there_is_nothing() -> None:
    split = Split(np.zeros((0, 1, 2, 2), dtype=np.uint8), np.zeros(0, dtype=np.int64))
    assert in_reading_order([], split) == {}
