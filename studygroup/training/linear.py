"""The linear model beside the network: what a run's result is worth is seen beside it.

Texts: logistic regression on tf-idf weights (1 + log of the count) of single tokens and pairs of tokens, on the same samples, tokens and
maximum length as the network. Of more than `MAX_EXACT` tokens, the features are hashed. Images: logistic regression on pixels, which are
averaged over blocks so that no side has more than `MAX_SIDE`, and standardised.

The regularisation is selected on the hold-out. Of more than `MAX_EXACT` tokens or `MAX_EXACT_PIXELS` the regression is fitted by
stochastic gradient descent; of more than `MAX_TOKENS` or `MAX_PIXELS` none is fitted. Nothing is random but the order of that descent,
which has a fixed seed.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studygroup.data import Ragged, Split
from studygroup.data.cache.entries import cache_dir, cached, digest
from studygroup.data.source import cache_folder
from studygroup.training.splits import DataSplits

FORMAT = 1
"""Incremented when the same data gets another model."""
MAX_EXACT, MAX_TOKENS = 3_000_000, 40_000_000
"""Numbers of training tokens up to which logistic regression is fitted exactly, and up to which it is fitted at all."""
MAX_EXACT_PIXELS, MAX_PIXELS = 300_000, 60_000_000
"""The same of pixels, every one of which costs time."""
STRENGTHS = {"texts": (1.0, 10.0, 100.0), "images": (0.1, 0.01, 0.001)}
"""Inverse regularisation of logistic regression; the hold-out selects one, and without a hold-out it is the second."""
PENALTIES = {"texts": (1e-5, 1e-6, 1e-7), "images": (1e-2, 1e-3, 1e-4)}
"""The same as penalties, of stochastic gradient descent."""
ITERATIONS = {"texts": 200, "images": 50}
MAX_SIDE = 28
HASHED = 2**20
FILE = "linear.json"

logger = logging.getLogger(__name__)


def linear_scores(splits: DataSplits, scored: Mapping[str, Split], cache: str | Path | None = None) -> dict[str, Any]:
    """Fit the linear model on the training samples, or read its scores from the cache.

    Args:
        splits: the data of a run.
        scored: further samples to score on, by name; empty ones are left out.
        cache: folder of the cache.

    Returns:
        `model` (its name), `holdout` and an entry per scored split (accuracies in [0, 1]; None without samples), `parameters`, `seconds`;
        or `model` and `skipped`, the reason why there is none.
    """
    fit = fit_texts if isinstance(splits.train.inputs, Ragged) else fit_images
    folder = cache_folder(cache)
    rows = {name: split.rows.tobytes() if split.rows is not None else name for name, split in scored.items()}
    key = digest(FORMAT, splits.dataset.key, splits.digest(), rows)
    home = cache_dir(folder, "linear", splits.dataset.name, key)

    def write(unfinished: Path) -> None:
        found = fit(splits.train, {"holdout": splits.holdout, **scored})
        (unfinished / FILE).write_text(json.dumps(found), encoding="utf-8")

    return cached(home, folder, partial(_read, home / FILE), write)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def fit_texts(train: Split, scored: Mapping[str, Split]) -> dict[str, Any]:
    """Fit the model on texts; arguments and result as of `linear_scores`, `holdout` among the scored splits."""
    name = "tf-idf + logistic regression"
    tokens = int(np.sum(train.inputs.lengths if train.rows is None else train.inputs.lengths[train.rows]))
    if reason := _reason_against(train, tokens, MAX_TOKENS, "training tokens"):
        return {"model": name, "skipped": reason}
    exact = tokens <= MAX_EXACT
    logger.info("fitting the linear model (tf-idf) on %d texts; --no-linear-model leaves it out", len(train))
    features = _vectorizer(exact)
    fits = _exact_fits("texts") if exact else _descents("texts")
    fitted = _select(fits, features, _sentences, train, scored)
    return {"model": name if exact else f"{name} (hashed, SGD)", **fitted}


def fit_images(train: Split, scored: Mapping[str, Split]) -> dict[str, Any]:
    """Fit the model on images; arguments and result as of `linear_scores`, `holdout` among the scored splits."""
    from sklearn.preprocessing import StandardScaler

    name, (channels, height, width) = "pixels + logistic regression", train.inputs.shape[1:]
    pixels = len(train) * channels * min(height, MAX_SIDE) * min(width, MAX_SIDE)
    if reason := _reason_against(train, pixels, MAX_PIXELS, "pixels of training images"):
        return {"model": name, "skipped": reason}
    exact = pixels <= MAX_EXACT_PIXELS
    logger.info("fitting the linear model (pixels) on %d images; --no-linear-model leaves it out", len(train))
    fits = _exact_fits("images") if exact else _descents("images")
    fitted = _select(fits, StandardScaler(), _pixels, train, scored)
    return {"model": name if exact else f"{name} (SGD)", **fitted}


def _reason_against(train: Split, size: int, most: int, unit: str) -> str:
    """Return why there can be no linear model of the training samples, or nothing."""
    if len(set(train.labels.tolist())) < 2:
        return "all training samples are of one class"
    return f"more than {most:,} {unit}" if size > most else ""


def _select(
    fits: Sequence[Callable[[], Any]], features: Any, samples_of: Callable[[Split], Any], train: Split, scored: Mapping[str, Split]
) -> dict[str, Any]:
    """Fit models and return the scores of the one that is best on the hold-out.

    Args:
        fits: make the models.
        features: learns from the training samples how to make features, and makes them.
        samples_of: returns the samples of a split as `features` takes them.
        train: training samples.
        scored: samples to score on, `holdout` among them.
    """
    from sklearn.exceptions import ConvergenceWarning

    start = time.monotonic()
    train_features = features.fit_transform(samples_of(train))
    samples = {split: (features.transform(samples_of(rows)), rows.labels) for split, rows in scored.items() if len(rows)}
    best: dict[str, Any] = {}
    for model in fits if "holdout" in samples else fits[1:2]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # then it is not the best of its kind, and still a fair one
            fitted = model().fit(train_features, train.labels)
        accuracy = {split: float((fitted.predict(given) == labels).mean()) for split, (given, labels) in samples.items()}
        if not best or accuracy.get("holdout", 0.0) > best["holdout"]:
            best = {**dict.fromkeys(scored), **accuracy, "parameters": _size(fitted)}
    return {**best, "seconds": round(time.monotonic() - start, 3)}


def _pixels(split: Split) -> NDArray[np.float32]:
    """Return the images as (n, d), averaged over blocks so that no side has more than `MAX_SIDE` of them."""
    _, height, width = split.inputs.shape[1:]
    down, across = -(-height // MAX_SIDE), -(-width // MAX_SIDE)
    found = []
    for rows in np.array_split(split.positions, max(len(split) // 1000, 1)):
        images = split.inputs[rows][:, :, : height // down * down, : width // across * across].astype(np.float32)
        blocks = images.reshape(*images.shape[:2], height // down, down, width // across, across)
        found.append(blocks.mean((3, 5)).reshape(len(rows), -1))
    return np.concatenate(found)


def _sentences(split: Split) -> Iterator[str]:
    """Yield each text as its token ids, separated by spaces."""
    rows = range(len(split)) if split.rows is None else split.rows.tolist()
    return (" ".join(map(str, split.inputs.concat(np.array([row]))[0].tolist())) for row in rows)


def _vectorizer(exact: bool) -> Any:
    """Return what makes tf-idf weights of single tokens and pairs."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    words: dict[str, Any] = {"token_pattern": r"\S+", "ngram_range": (1, 2), "lowercase": False, "dtype": np.float32}
    if exact:
        return TfidfVectorizer(sublinear_tf=True, **words)
    return make_pipeline(
        HashingVectorizer(n_features=HASHED, alternate_sign=False, norm=None, **words), TfidfTransformer(sublinear_tf=True)
    )


def _exact_fits(kind: str) -> list[Callable[[], Any]]:
    from sklearn.linear_model import LogisticRegression

    return [partial(LogisticRegression, C=strength, max_iter=ITERATIONS[kind]) for strength in STRENGTHS[kind]]


def _descents(kind: str) -> list[Callable[[], Any]]:
    from sklearn.linear_model import SGDClassifier

    return [
        partial(SGDClassifier, loss="log_loss", alpha=penalty, max_iter=5, tol=None, random_state=0, average=True)
        for penalty in PENALTIES[kind]
    ]


def _size(model: Any) -> int:
    return int(model.coef_.size + model.intercept_.size)
