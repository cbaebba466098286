"""The linear model of pixels beside a network for images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from studygroup.data import Split
from studygroup.options import RunOptions
from studygroup.pipeline.setup import open_splits, run_options
from studygroup.training import linear
from studygroup.training.linear import fit_images, linear_scores
from studygroup.training.splits import DataSplits


@pytest.fixture(scope="module")
def splits(cache: Path) -> DataSplits:
    return open_splits(run_options(RunOptions("digits", method="baseline", train_size=200, cache=cache, progress=False)))


def test_it_is_logistic_regression_selected_on_the_hold_out(splits: DataSplits, cache: Path) -> None:
    def flat(split: Split) -> NDArray[np.float32]:
        return np.asarray(split.inputs[split.positions], np.float32).reshape(len(split), -1)

    scale = StandardScaler().fit(flat(splits.train))
    models = [
        LogisticRegression(C=c, max_iter=50).fit(scale.transform(flat(splits.train)), splits.train.labels) for c in (0.1, 0.01, 0.001)
    ]
    pairs = [[model.score(scale.transform(flat(s)), s.labels) for s in (splits.holdout, splits.dataset.test)] for model in models]
    holdout, test = max(pairs, key=lambda pair: pair[0])
    found = linear_scores(splits, {"test": splits.dataset.test}, cache)
    assert (found["holdout"], found["test"]) == (pytest.approx(holdout), pytest.approx(test))
    assert found["test"] > 0.85
    assert (found["model"], found["parameters"]) == ("pixels + logistic regression", 650)


def test_large_images_are_averaged_over_blocks_and_large_data_fitted_by_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(60) % 2
    images = np.zeros((60, 3, 57, 30), np.uint8)
    images[labels == 1, 0, :28] = 200
    split = Split(images, labels)
    found = fit_images(split, {"holdout": split})
    assert found["holdout"] == 1.0
    assert found["parameters"] == 3 * 19 * 15 + 1, "blocks of 3 x 2 pixels"
    monkeypatch.setattr(linear, "MAX_EXACT_PIXELS", 10)
    assert fit_images(split, {"holdout": split})["model"] == "pixels + logistic regression (SGD)"
    monkeypatch.setattr(linear, "MAX_PIXELS", 100)
    assert fit_images(split, {})["skipped"] == "more than 100 pixels of training images"
