"""The linear model beside the network: what a run's result is worth is seen beside it.

Texts: logistic regression on tf-idf weights (1 + log of the count) of single tokens and pairs of tokens, on the same samples, tokens and
maximum length as the network. Its regularisation is selected on the hold-out. Of more than `MAX_EXACT` tokens, the features are hashed, and
the regression is fitted by stochastic gradient descent; of more than `MAX_TOKENS`, none is fitted. Nothing is random but the order of that
descent, which has a fixed seed. Images have no linear model yet.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from studygroup.data import Ragged, Split
from studygroup.data.cache.entries import cache_dir, cached, digest
from studygroup.data.source import cache_folder
from studygroup.training.splits import DataSplits

FORMAT = 1
"""Incremented when the same data gets another model."""
MAX_EXACT = 3_000_000
MAX_TOKENS = 40_000_000
"""Numbers of training tokens up to which logistic regression is fitted exactly, and up to which it is fitted at all."""
STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse regularisation of logistic regression; the hold-out selects one, and without a hold-out it is the second."""
PENALTIES = (1e-5, 1e-6, 1e-7)
"""The same as penalties, of stochastic gradient descent."""
HASHED = 2**20
FILE = "linear.json"

logger = logging.getLogger(__name__)


def linear_scores(splits: DataSplits, scored: Mapping[str, Split], cache: str | Path | None = None) -> dict[str, Any] | None:
    """Fit the linear model on the training samples, or read its scores from the cache.

    Args:
        splits: the data of a run.
        scored: further samples to score on, by name; empty ones are left out.
        cache: folder of the cache.

    Returns:
        `model` (its name), `holdout` and an entry per scored split (accuracies in [0, 1]; None without samples), `parameters`, `seconds`;
        or `model` and `skipped`, the reason why there is none. None if there is no linear model for this kind of data.
    """
    if not isinstance(splits.train.inputs, Ragged):
        return None
    folder = cache_folder(cache)
    rows = {name: split.rows.tobytes() if split.rows is not None else name for name, split in scored.items()}
    key = digest(FORMAT, splits.dataset.key, splits.digest(), rows)
    home = cache_dir(folder, "linear", splits.dataset.name, key)

    def write(unfinished: Path) -> None:
        found = fit_texts(splits.train, {"holdout": splits.holdout, **scored})
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
    from sklearn.exceptions import ConvergenceWarning

    name, tokens = (
        "tf-idf + logistic regression",
        int(np.sum(train.inputs.lengths if train.rows is None else train.inputs.lengths[train.rows])),
    )
    if len(set(train.labels.tolist())) < 2:
        return {"model": name, "skipped": "all training samples are of one class"}
    if tokens > MAX_TOKENS:
        return {"model": name, "skipped": f"more than {MAX_TOKENS:,} training tokens"}
    start = time.monotonic()
    exact = tokens <= MAX_EXACT
    logger.info("fitting the linear model (tf-idf) on %d texts; --no-linear-model leaves it out", len(train))
    features = _vectorizer(exact)
    train_features = features.fit_transform(_sentences(train))
    samples = {split: (features.transform(_sentences(rows)), rows.labels) for split, rows in scored.items() if len(rows)}
    best: dict[str, Any] = {}
    fits = _exact_fits() if exact else _descents()
    for model in fits if "holdout" in samples else fits[1:2]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # then it is not the best of its kind, and still a fair one
            fitted = model().fit(train_features, train.labels)
        accuracy = {split: float((fitted.predict(given) == labels).mean()) for split, (given, labels) in samples.items()}
        if not best or accuracy.get("holdout", 0.0) > best["holdout"]:
            best = {"model": name if exact else f"{name} (hashed, SGD)", **dict.fromkeys(scored), **accuracy, "parameters": _size(fitted)}
    return {**best, "seconds": round(time.monotonic() - start, 3)}


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


def _exact_fits() -> list[Callable[[], Any]]:
    from sklearn.linear_model import LogisticRegression

    return [partial(LogisticRegression, C=strength, max_iter=200) for strength in STRENGTHS]


def _descents() -> list[Callable[[], Any]]:
    from sklearn.linear_model import SGDClassifier

    return [
        partial(SGDClassifier, loss="log_loss", alpha=penalty, max_iter=5, tol=None, random_state=0, average=True) for penalty in PENALTIES
    ]


def _size(model: Any) -> int:
    return int(model.coef_.size + model.intercept_.size)
