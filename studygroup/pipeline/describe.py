"""The lines on data and network before a run or a comparison begins."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from torch import nn

from studygroup.data import Dataset, Unlabelled, format_augment, parse_augment
from studygroup.data.describe import count_copies, describe
from studygroup.networks.factory import Spec, spec_name
from studygroup.options import RunOptions
from studygroup.pipeline.presets import describe_recipe
from studygroup.training.flops import inference_cost
from studygroup.training.results import total_parameters
from studygroup.training.splits import DataSplits

COUNTED_ON = 8  # samples
logger = logging.getLogger(__name__)


def describe_run(options: RunOptions, splits: DataSplits, student: Spec | None = None, network: nn.Module | None = None) -> dict[str, Any]:
    """Log a description of the data, with warnings of its faults, and of the network; return it in JSON's types.

    Args:
        options: of the run.
        splits: its data.
        student: the network to deploy; None for a comparison of several.
        network: the same, built.
    """
    found = describe(splits.dataset, split_seed=options.split_seed, cache=options.cache)
    lines = [*found.lines(), describe_augmentation(options, splits), describe_recipe(options)]
    description = {**found.plain(), "augment": splits.augment, **({"flips": asdict(splits.flips)} if splits.flips is not None else {})}
    if student is not None and network is not None:
        parameters = total_parameters(network)
        operations = inference_cost(network, splits, COUNTED_ON)
        description["network"] = {"name": spec_name(student), "parameters": parameters, "operations": operations}
        lines.append(f"network: {spec_name(student)}, {parameters:,} parameters")
    warnings = found.warnings()
    if splits.unlabelled is not None:
        described, copies = describe_unlabelled(splits.unlabelled, splits.dataset)
        description["unlabelled"] = described
        lines.append("unlabelled: {samples:,} {kind} of {name}, {share:.0%} of each batch".format(**described))
        warnings += copies
    for line in lines:
        logger.info("%s", line)
    for line in warnings:
        logger.warning("note: %s", line)
    return description


def describe_unlabelled(unlabelled: Unlabelled, dataset: Dataset) -> tuple[dict[str, Any], list[str]]:
    """Return a description of samples without labels, in JSON's types, and warnings of those among them that are scored, too."""
    kind, count = f"{dataset.inputs.noun}s", len(unlabelled.split)
    warnings = []
    for split, scored in (("test", dataset.test), ("hold-out", dataset.holdout)):
        if copies := count_copies(unlabelled.split, scored):
            warnings.append(
                f"{copies:,} of {count:,} unlabelled {kind} are {split} {kind}, too: students see what they are scored on; remove them, "
                "unless that is intended (transductive learning)"
            )
    return {"name": unlabelled.name, "samples": count, "share": unlabelled.share, "kind": kind}, warnings


def describe_augmentation(options: RunOptions, splits: DataSplits) -> str:
    """Return the line on augmentation; of a preset it says whether images are flipped, which depends on the data."""
    line, flips = f"augmentation: {splits.augment}", splits.flips
    if flips is None:
        return line
    contrary = format_augment(parse_augment(options.augment, flips=not flips.allowed))
    return f"{line}; {flips.reason} (if {'not' if flips.allowed else 'they are of the same class'}: --augment {contrary})"
