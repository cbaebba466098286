"""Scores on training samples that a run has not used: for choices that must not see the test set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from studygroup import config
from studygroup.data import Dataset, Split, evaluation_batches
from studygroup.devices import pick_device
from studygroup.errors import UserError
from studygroup.options import RunOptions
from studygroup.pipeline.setup import open_splits
from studygroup.runs.files import write_json
from studygroup.runs.member import Run
from studygroup.training.evaluate import score
from studygroup.training.linear import linear_scores


def unused(dataset: Dataset, samples: int) -> Split:
    """Return training samples that are neither trained on nor held out, stratified; the same ones for any `train_size` that leaves them.

    Raises:
        UserError: there are fewer.
    """
    rest = len(dataset.unused)
    if rest < samples:
        raise UserError(f"score_on_unused is {samples}, but only {rest} training samples are unused; give a smaller train_size")
    return dataset.unused.take(np.arange(samples))


def score_unused(run: Run, samples: int) -> None:
    """Write the accuracy of the selected student (`best`), of all members and of the ensemble on unused samples."""
    options = replace(config.load_group(run.files.config, RunOptions), progress=False)
    splits = open_splits(options)
    split = unused(splits.dataset, samples)
    device = pick_device(options.device)
    best = run.best
    members = {**run.members, "best": best}
    runners = {name: member.runner(device) for name, member in members.items()}
    scores = score(
        lambda inputs: {name: runner(inputs) for name, runner in runners.items()},
        [name for name in members if name.startswith("student")],
        evaluation_batches(split, best.prepare(device), 500),
    )
    linear = linear_scores(splits, {"unused": split}, options.cache) if options.linear_model else {}
    write_json(
        run.files.unused_scores,
        {
            "samples": samples,
            "accuracy": scores.accuracy,
            "diversity": scores.diversity,
            "disagreement": scores.disagreement,
            "linear": linear.get("unused"),
        },
    )
