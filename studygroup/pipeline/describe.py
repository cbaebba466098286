"""The lines on data and network before a run or a comparison begins."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from studygroup.data import Images, parse_augment
from studygroup.data.describe import describe
from studygroup.networks.factory import Spec, spec_name
from studygroup.options import RunOptions
from studygroup.pipeline.presets import describe_recipe
from studygroup.training.results import total_parameters
from studygroup.training.splits import DataSplits

FLIPPED = "mirrored images count as the same class (if they are not: --augment crop)"
UNFLIPPED = "no flips, as mirrored digits, letters or sides are of another class (if they are not: --augment crop,flip)"

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
    description = {**found.plain(), "augment": splits.augment}
    if student is not None and network is not None:
        parameters = total_parameters(network)
        description["network"] = {"name": spec_name(student), "parameters": parameters}
        lines.append(f"network: {spec_name(student)}, {parameters:,} parameters")
    for line in lines:
        logger.info("%s", line)
    for line in found.warnings():
        logger.warning("note: %s", line)
    return description


def describe_augmentation(options: RunOptions, splits: DataSplits) -> str:
    """Return the line on augmentation; of a preset it says whether images are flipped, which depends on the data."""
    line = f"augmentation: {splits.augment}"
    by_data = parse_augment(options.augment) != parse_augment(options.augment, flips=False)
    if by_data and isinstance(splits.dataset.inputs, Images):
        line += f"; {FLIPPED if 'flip' in splits.dataset.augment else UNFLIPPED}"
    return line
