"""Scores on training samples that a run has not used: for choices that must not see the test set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studygroup import config, session
from studygroup.data import evaluation_batches, hold_out
from studygroup.devices import pick_device
from studygroup.errors import UserError
from studygroup.runs.files import write_json
from studygroup.training import Run, score


def unused(total: int, arguments: Mapping[str, Any], samples: int) -> NDArray[np.int64]:
    """Positions of training samples that are neither learnt from nor held out.

    Args:
        total: number of training samples of the data set.
        arguments: of `studygroup.train`.
        samples: how many are wanted.

    Raises:
        UserError: there are fewer.
    """
    used = hold_out(total, holdout=arguments["holdout"], train_size=arguments["train_size"], seed=arguments["split_seed"])
    rest = np.setdiff1d(np.arange(total), np.concatenate(used))
    if len(rest) < samples:
        raise UserError(
            f"score_on_unused is {samples}, but only {len(rest)} of the training samples are not used; give a smaller train_size"
        )
    return rest[:samples]


def validate(run: Run, samples: int, path: Path) -> None:
    """Write down the accuracy of the selected student (`best`), of all members and of the ensemble on unused samples."""
    asked: dict[str, Any] = config.read(run.folder / "config.yaml")
    dataset = session.make_material({**asked, "progress": False}).dataset
    split = dataset.train.take(unused(len(dataset.train), asked, samples))
    device = pick_device(asked["device"])
    members = {**run.members, "best": run.best}
    runners = {name: member.runner(device) for name, member in members.items()}
    scores = score(
        lambda inputs: {name: runner(inputs) for name, runner in runners.items()},
        [name for name in members if name.startswith("student")],
        evaluation_batches(split, run.best.prepare(device), 500),
    )
    write_json(path, {"samples": samples, "accuracy": scores.accuracy, "diversity": scores.diversity})
