"""The options of `studygroup study`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from studygroup.options.groups import CacheOptions, ClusterOptions, DeviceOptions, ErrorOptions, Precision, ProgressOptions, TableOptions
from studygroup.parameters import option


@dataclass(frozen=True, kw_only=True)
class StudyOptions(ClusterOptions, ProgressOptions, DeviceOptions, CacheOptions, ErrorOptions, TableOptions):
    """Options of `studygroup study`."""

    title = "study"

    name: str = field(kw_only=False, metadata={"help": "Name of a study; `list` for all of them"})
    scale: Literal["tiny", "small", "paper"] = option(
        "small",
        help="`tiny`: minutes on scikit-learn's digits, to see that it runs; `small`: hours on Fashion-MNIST, or your texts; "
        "`paper`: the published data, networks and schedules",
    )
    data: Sequence[str] = option(
        (),
        help="Data instead of the scale's own, images or texts, as of `train`; at scale `paper` the place of a published data set, e.g. "
        "`cifar100:/path/to/archive`",
        default_help="digits, Fashion-MNIST, or the paper's",
    )
    train_size: float | None = option(
        None, above=0, help="Number of training samples to use (above 1), or their fraction (at most 1)", default_help="the scale's"
    )
    student: str | None = option(None, help="Network instead of the scale's own, in studies of methods", default_help="the scale's")
    seeds: int | None = option(
        None, at_least=1, help="Number of seeds, each with its own data split", default_help="2 at scale tiny, else 3"
    )
    panels: Sequence[str] = option((), help="Panels to run, as `studygroup study NAME` names them", default_help="all of the study")
    download: bool = option(False, help="Download data sets that are not there", affects="nothing")
    out: str | Path | None = option(
        None, help="Folder of the study and of all its runs", default_help="runs/study-NAME-SCALE", affects="nothing"
    )
    yes: bool = option(False, help="Start even if the estimate is above 24 hours", affects="nothing")
    precision: Precision = option("auto", help="bfloat16 autocast or float32; `auto` takes bf16 where the hardware has it")
    overwrite: bool = option(False, help="Delete the study in --out first", affects="nothing")
