"""What an advice hands over: the winner's run with its test scores, and the command that trains it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from studygroup import config
from studygroup.advice.judgement import wilson
from studygroup.options import AdviseOptions, TrainOptions
from studygroup.options.base import plain
from studygroup.parameters import parameters_of, show
from studygroup.pipeline.train import train
from studygroup.runs.layout import RunFiles


def score_on_test(files: RunFiles) -> dict[str, Any] | None:
    """Score a finished run on the test set, which no run of an advice has seen; return its accuracy with a 95% interval.

    Args:
        files: of the run, which becomes an ordinary one.

    Returns:
        `accuracy`, `low`, `high`, `samples`; None if the data has no test set.
    """
    options = replace(config.load_group(files.config, TrainOptions), score_test=True, out=str(files.folder))
    config.save(files.config, options)
    result = train(replace(options, resume=True, progress=False)).result
    accuracy, samples = result["selected"]["test"], result["test_samples"]
    if accuracy is None:
        return None
    low, high = wilson(accuracy, samples)
    return {"accuracy": accuracy, "low": low, "high": high, "samples": samples}


def train_command(options: AdviseOptions, own: Mapping[str, object]) -> str:
    """Return the command that trains with the options of an advice and some of a candidate.

    Args:
        options: of the advice, as the user gave them.
        own: the method, the student, the epochs, and what else the candidate differs in; shown first.
    """
    known = parameters_of(TrainOptions)
    shared = {
        name: value
        for name, value in vars(options).items()
        if name in known and name != "data" and known[name].affects == "result" and plain(value) != plain(known[name].default)
    }
    words = ["studygroup", "train", str(options.data)]
    for name, value in {**own, **{name: value for name, value in shared.items() if name not in own}}.items():
        flag = "--" + name.replace("_", "-")
        words += [flag if value else flag.replace("--", "--no-", 1)] if isinstance(value, bool) else [flag, show(value)]
    return shlex.join(words)
