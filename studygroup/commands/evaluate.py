"""`studygroup evaluate`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from studygroup.commands.classifier import ALL, open_classifiers
from studygroup.data import HOLDOUT, Dataset, Split, open_data, table_options
from studygroup.data.given import stored
from studygroup.errors import UserError
from studygroup.exporting.model import ExportedModel
from studygroup.options import EvaluateOptions, TableOptions
from studygroup.parameters import parameters_of
from studygroup.runs.evaluation import Evaluation
from studygroup.runs.predict import Classifier
from studygroup.training.evaluate import collect

UnknownClasses = Literal["stop", "skip", "count"]
logger = logging.getLogger(__name__)


def run(options: EvaluateOptions) -> dict[str, dict[str, Any]]:
    """Score members of a run on its test set, or members or an exported file on other data."""
    options = stored(options)
    members = open_classifiers(options.run, options.members, options.allow_code)
    names, first = list(members), next(iter(members.values()))
    dataset = open_for(first, options)
    everything = next((split for split in (dataset.test, dataset.holdout) if len(split)), dataset.train)
    split, unknown = relabelled(everything, dataset.classes, first.classes, options.unknown_classes)
    device = first.pick_device(options.device)
    runners = {name: member.runner(device) for name, member in members.items()}
    found = collect(
        lambda inputs: {name: runner(inputs) for name, runner in runners.items()},
        ([name for name in names if name.startswith("student")] or names) if ALL in options.members else (),
        split,
        first.prepare(device),
        options.batch_size,
    )
    return {name: evaluation_row(Evaluation.of(outcomes, first.classes), unknown) for name, outcomes in found.items()}


def evaluation_row(evaluation: Evaluation, unknown: int = 0) -> dict[str, Any]:
    """Return `accuracy`, `cross_entropy` and `samples` of a member, and the other attributes of `Evaluation`, in JSON's types.

    Args:
        evaluation: on the samples of known classes.
        unknown: number of other samples, which count as wrong in the accuracy; in none of the other scores.
    """
    plain = evaluation.to_plain()
    known, accuracy = plain.pop("samples"), plain.pop("accuracy")
    samples = known + unknown
    return {
        "accuracy": accuracy * known / samples if unknown and accuracy is not None else accuracy,
        "cross_entropy": evaluation.negative_log_likelihood,
        "samples": samples,
        **({"unknown": unknown} if unknown else {}),
        **plain,
    }


def open_for(classifier: Classifier, options: EvaluateOptions) -> Dataset:
    """Open the data to evaluate on, read as the training data was.

    A run's own data is split as for training; of other data without a test set its hold-out set, or else everything, is tested on.

    Raises:
        UserError: the data cannot be read, or an exported file is given without data.
    """
    if options.data is None and isinstance(classifier, ExportedModel):
        raise UserError(f"{options.run} is an exported file, which has no data of its own; give --data")
    trained = classifier.data_options()
    given = {name: getattr(options, name) for name in parameters_of(TableOptions)}
    # Other data may be of another kind, and has its own delimiter.
    taken = set(given) if options.data is None else table_options(options.data) - {"delimiter"}
    columns = {name: value or (getattr(trained, name) if name in taken else value) for name, value in given.items()}
    data = replace(trained, cache=options.cache, progress=options.progress, download=False, **columns)
    if options.data is not None:
        data = replace(data, data=options.data, test_size=0.0, holdout=None, train_size=None, split_seed=0, on_error=options.on_error)
    data, tokenizer = classifier.inputs.like_training(data)
    default = HOLDOUT if options.data is None else 0.0
    return open_data(data, tokenizer=tokenizer, fewest_classes=1, default_holdout=default)


def relabelled(split: Split, classes: Sequence[str], known: Sequence[str], unknown_classes: UnknownClasses = "stop") -> tuple[Split, int]:
    """Return the samples of known classes, whose labels count in a run's classes, and the number of other samples that count as wrong.

    Args:
        split: samples to evaluate on.
        classes: the data's; they may be fewer than the run's, and in another order.
        known: the run's classes.
        unknown_classes: `stop`, `skip` samples of other classes, or `count` them.

    Raises:
        UserError: the data has a class that the run does not know, and `unknown_classes` is `stop`; or it has no other ones.
    """
    strange = [name for name in classes if name not in known]
    if strange and unknown_classes == "stop":
        raise UserError(
            f"the data has classes that the run does not know: {', '.join(strange)[:80]}; it knows {', '.join(known)[:80]}. Skip their "
            "samples, or count them as wrong (--unknown-classes skip or count)"
        )
    numbers = np.array([known.index(name) if name in known else -1 for name in classes], dtype=np.int64)[split.labels]
    others = int((numbers < 0).sum())
    if others == len(split):
        raise UserError(f"no sample has a class that the run knows: {', '.join(known)[:80]}; give other data, or correct its labels")
    if others:
        action = "skipped" if unknown_classes == "skip" else "counted as wrong (cross-entropy is of the others)"
        logger.warning(
            "%d of %d samples have classes that the run does not know (%s): %s", others, len(split), ", ".join(strange)[:80], action
        )
    kept = np.flatnonzero(numbers >= 0)
    return replace(split.take(kept) if others else split, labels=numbers[kept]), others if unknown_classes == "count" else 0
