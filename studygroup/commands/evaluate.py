"""`studygroup evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from studygroup import config
from studygroup.data import Dataset, Split, open_data
from studygroup.devices import pick_device
from studygroup.errors import UserError
from studygroup.options import DataOptions, EvaluateOptions, TableOptions
from studygroup.parameters import parameters_of
from studygroup.runs.evaluation import Evaluation
from studygroup.runs.member import Member, Run
from studygroup.training.evaluate import collect


def run(options: EvaluateOptions) -> dict[str, dict[str, Any]]:
    """Score members of a run on its test set, or on other data."""
    opened = Run(options.run)
    every = "all" in options.members
    names = [name for name in opened.names() if name != "best"] if every else list(options.members)
    members = {name: opened.member(name) for name in names}
    first = next(iter(members.values()))
    dataset = open_for(opened, first, options)
    split = relabelled(dataset.test if len(dataset.test) else dataset.train, dataset.classes, first.classes)
    device = pick_device(options.device)
    runners = {name: member.runner(device) for name, member in members.items()}
    found = collect(
        lambda inputs: {name: runner(inputs) for name, runner in runners.items()},
        ([name for name in names if name.startswith("student")] or names) if every else (),
        split,
        first.prepare(device),
        options.batch_size,
    )
    return {name: evaluation_row(Evaluation.of(outcomes, first.classes)) for name, outcomes in found.items()}


def evaluation_row(evaluation: Evaluation) -> dict[str, Any]:
    """Return `accuracy`, `cross_entropy` and `samples` of a member, and the other attributes of `Evaluation`, in JSON's types."""
    plain = evaluation.to_plain()
    return {
        "accuracy": plain.pop("accuracy"),
        "cross_entropy": evaluation.negative_log_likelihood,
        "samples": plain.pop("samples"),
        **plain,
    }


def open_for(run: Run, member: Member, options: EvaluateOptions) -> Dataset:
    """Open the data to evaluate on, read as the run's own data was.

    The run's own data is split as for training; of other data without a test set, everything is tested on.
    """
    trained = config.load_group(run.files.config, DataOptions)
    columns = {name: getattr(options, name) or getattr(trained, name) for name in parameters_of(TableOptions)}
    data = replace(trained, cache=options.cache, progress=options.progress, download=False, **columns)
    if options.data is not None:
        data = replace(data, data=options.data, test_size=0.0, split_seed=0, on_error=options.on_error)
    data, tokenizer = member.inputs.like_training(data)
    return open_data(data, tokenizer=tokenizer)


def relabelled(split: Split, classes: Sequence[str], known: Sequence[str]) -> Split:
    """Return a split whose labels count in a run's classes, which may be more than the data's and in another order.

    Raises:
        UserError: the data has a class that the run does not know.
    """
    strange = [name for name in classes if name not in known]
    if strange:
        raise UserError(f"the data has classes that the run does not know: {', '.join(strange)[:80]}; it knows {', '.join(known)[:80]}")
    return replace(split, labels=np.array([known.index(name) for name in classes], dtype=np.int64)[split.labels])
