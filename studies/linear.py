"""Accuracy of a linear model on the texts of a study: the same splits, tokens and maximum length, without gradient descent.

    python studies/linear.py studies/spam.yaml
    python studies/linear.py studies/spam-vdcnn9.yaml --longest-ngram 5

Logistic regression on tf-idf weights of n-grams of tokens. Its regularisation is selected on the hold-out set, as the student and the epoch
of networks are. Nothing is random.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from studygroup import config
from studygroup.data import Split
from studygroup.options import CompareOptions, TrainOptions
from studygroup.pipeline.setup import open_splits, run_options

INVERSE_REGULARISATION = [10.0**power for power in range(-2, 5)]


def sentences(split: Split) -> list[str]:
    """Return each text as its token ids, separated by spaces."""
    rows = range(len(split)) if split.rows is None else split.rows.tolist()
    return [" ".join(map(str, split.inputs.concat([row])[0].tolist())) for row in rows]


def measure(recipe: Path, longest: int) -> tuple[float, float, float]:
    """Return the hold-out accuracy, the test accuracy of the selected model, and that of always predicting the most frequent class."""
    options = CompareOptions.from_plain(config.load(recipe, TrainOptions, CompareOptions))
    splits = open_splits(run_options(options))
    test = splits.dataset.test
    vectorizer = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, longest), sublinear_tf=True)
    train_features = vectorizer.fit_transform(sentences(splits.train))
    holdout_features, test_features = vectorizer.transform(sentences(splits.holdout)), vectorizer.transform(sentences(test))
    best = (0.0, 0.0)
    for strength in INVERSE_REGULARISATION:
        model = LogisticRegression(C=strength, max_iter=2000).fit(train_features, splits.train.labels)
        scores = model.score(holdout_features, splits.holdout.labels), model.score(test_features, test.labels)
        best = max(best, scores, key=lambda found: found[0])
    return *best, max((test.labels == label).mean() for label in set(test.labels.tolist()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--longest-ngram", type=int, default=2)
    given = parser.parse_args()
    holdout, test, most = measure(given.recipe, given.longest_ngram)
    print(f"hold-out {holdout:.2%}, test {test:.2%}; always the most frequent class: {most:.2%}")
