"""What a linear model makes of the same texts as a study of networks: the same division, tokens and length, no gradient descent.

    python studies/linear.py studies/spam.yaml
    python studies/linear.py studies/spam-vdcnn9.yaml --longest-ngram 5

Logistic regression on tf-idf weights of n-grams of tokens. How strongly it is regularised is chosen by the hold-out, as the student
and the epoch of networks are. It draws nothing at random.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import studygroup
from studygroup import config, session
from studygroup.data import Split
from studygroup.parameters import parameters_of

STRENGTHS = [10.0**power for power in range(-2, 5)]  # inverse ones


def sentences(split: Split) -> list[str]:
    """Each text as its tokens' ids, in words."""
    rows = range(len(split)) if split.rows is None else split.rows.tolist()
    return [" ".join(map(str, split.inputs.joined([row])[0].tolist())) for row in rows]


def measure(recipe: Path, longest: int) -> tuple[float, float, float]:
    """Hold-out accuracy, the test accuracy of what it selects, and that of always saying what most of the test is."""
    usual: dict[str, Any] = {name: word.default for name, word in parameters_of(studygroup.train).items()}
    words = config.load(recipe, studygroup.train, studygroup.compare)
    splits = session.make_material(session.with_defaults(usual | words))
    test = splits.dataset.test
    weights = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, longest), sublinear_tf=True)
    known = weights.fit_transform(sentences(splits.train))
    held, asked = weights.transform(sentences(splits.holdout)), weights.transform(sentences(test))
    best = (0.0, 0.0)
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000).fit(known, splits.train.labels)
        best = max(best, (model.score(held, splits.holdout.labels), model.score(asked, test.labels)), key=lambda found: found[0])
    return *best, max((test.labels == label).mean() for label in set(test.labels.tolist()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--longest-ngram", type=int, default=2)
    given = parser.parse_args()
    holdout, test, most = measure(given.recipe, given.longest_ngram)
    print(f"hold-out {holdout:.2%}, test {test:.2%}; always the most frequent class: {most:.2%}")
