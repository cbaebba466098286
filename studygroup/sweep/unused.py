"""Scores on training samples that a run has not used: for choices that must not see the test set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from studygroup import config
from studygroup.data import evaluation_batches, hold_out
from studygroup.devices import pick_device
from studygroup.errors import UserError
from studygroup.options import RunOptions
from studygroup.pipeline.setup import open_splits
from studygroup.runs.files import write_json
from studygroup.runs.member import Run
from studygroup.training.evaluate import score
from studygroup.training.linear import linear_scores


def unused(total: int, options: RunOptions, samples: int) -> NDArray[np.int64]:
    """Return positions of training samples that are neither trained on nor held out.

    Args:
        total: number of training samples of the data set.
        options: of the run.
        samples: number of positions.

    Raises:
        UserError: there are fewer.
    """
    used = hold_out(total, holdout=options.holdout, train_size=options.train_size, seed=options.split_seed)
    rest = np.setdiff1d(np.arange(total), np.concatenate(used))
    if len(rest) < samples:
        raise UserError(f"score_on_unused is {samples}, but only {len(rest)} training samples are unused; give a smaller train_size")
    return rest[:samples]


def score_unused(run: Run, samples: int) -> None:
    """Write the accuracy of the selected student (`best`), of all members and of the ensemble on unused samples."""
    options = replace(config.load_group(run.files.config, RunOptions), progress=False)
    splits = open_splits(options)
    dataset = splits.dataset
    split = dataset.train.take(unused(len(dataset.train), options, samples))
    device = pick_device(options.device)
    best = run.best
    members = {**run.members, "best": best}
    runners = {name: member.runner(device) for name, member in members.items()}
    scores = score(
        lambda inputs: {name: runner(inputs) for name, runner in runners.items()},
        [name for name in members if name.startswith("student")],
        evaluation_batches(split, best.prepare(device), 500),
    )
    linear = linear_scores(splits, {"unused": split}, options.cache) if options.linear_model else None
    write_json(
        run.files.unused_scores,
        {
            "samples": samples,
            "accuracy": scores.accuracy,
            "diversity": scores.diversity,
            "linear": None if linear is None else linear.get("unused"),
        },
    )
