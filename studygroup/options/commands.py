"""The options of each command, put together from the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from studygroup.errors import UserError
from studygroup.options.base import MOST_PROCESSES, MOST_SAMPLES, MOST_SEEDS, Options
from studygroup.options.code import CodeOptions
from studygroup.options.groups import (
    CacheOptions,
    ClusterOptions,
    DataOptions,
    DeviceOptions,
    ErrorOptions,
    HardwareOptions,
    MethodObject,
    MethodOptions,
    NetworkOptions,
    OptimizerOptions,
    ProgressOptions,
    SeedOptions,
    TableOptions,
)
from studygroup.options.run import RunOptions, TrainerOptions
from studygroup.options.unlabelled import UnlabelledOptions
from studygroup.options.weights import WeightsOptions
from studygroup.parameters import option, parameters_of

if TYPE_CHECKING:
    from studygroup.options.groups import PythonData


Sharding = Literal["samples", "students", "members"]


@dataclass(frozen=True, kw_only=True)
class RankOptions(Options):
    """Distributed training."""

    title = "distributed training"

    devices: int = option(
        1,
        at_least=1,
        at_most=MOST_PROCESSES,
        help="Number of processes on this machine: one per GPU, or sharing the CPU cores",
        affects="cost",
    )
    nodes: int = option(
        1,
        at_least=1,
        at_most=MOST_PROCESSES,
        help="Number of machines that run this command; they must share the file system",
        affects="cost",
    )
    rendezvous: str | None = option(None, help="`HOST:PORT` at which several nodes meet", affects="cost")
    shard: Sharding = option(
        "samples",
        help="What is sharded over the processes: `samples` (data parallel), `students` (cgl), or `members` (separate networks that "
        "exchange logits only: dml, orc and others)",
        affects="cost",
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RankOptions, RunOptions):
    """Options of `studygroup train`."""

    title = "output"

    out: str | Path | None = option(None, help="Run folder", default_help="runs/DATA-METHOD-STUDENT-sSEED", affects="nothing")
    resume: bool = option(False, help="Continue the run in --out from its last checkpoint", affects="nothing")
    overwrite: bool = option(False, help="Delete the run in --out first", affects="nothing")

    def __post_init__(self) -> None:
        """Check values that depend on each other."""
        super().__post_init__()
        if self.resume and self.overwrite:
            raise UserError("resume and overwrite exclude each other; give one of them")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(SeedOptions, HardwareOptions, OptimizerOptions, DataOptions, MethodOptions, NetworkOptions):
    """Options of `studygroup benchmark`."""

    title = "measurement"

    method: str | MethodObject = option("cgl", help="Method to measure beside the student alone")
    group_sizes: Sequence[int] | None = option(
        None,
        at_least=1,
        at_most=1000,
        help="Other numbers of students to measure",
        default_help="2,4,8,16,32 for cgl, each imitating as many peers; none for other methods",
    )
    steps: int | None = option(None, at_least=1, help="Training steps per repetition", default_help="as many as take about a minute in all")
    repeats: int = option(15, at_least=1, help="Number of repetitions")


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ClusterOptions, WeightsOptions, TrainerOptions, UnlabelledOptions, DataOptions, NetworkOptions):
    """Options of `studygroup compare`."""

    title = "comparison"

    method: str | None = option(None, help="Method of the variants of a recipe that name none")
    method_options: Mapping[str, object] | None = option(None, help="Options of that method")
    teacher: str | Path | Sequence[str | Path] | None = option(
        None,
        help="Teacher: a network by name (trained once per seed), a run folder, with `{seed}` if there is one per seed, or the name of a "
        "variant of the recipe; several for methods that take them, such as kd",
    )
    methods: Sequence[str] = option((), help="Methods to compare")
    seeds: int = option(3, at_least=1, at_most=MOST_SEEDS, help="Number of seeds: 0, 1, ...")
    options: Mapping[str, object] | None = option(None, help="Options of the methods, e.g. `cgl.students=8 dml.students=4`")
    variants: Mapping[str, object] | None = option(
        None, help="In recipes: named variants, each with the options in which it differs, e.g. `dml-4: {method: {name: dml, students: 4}}`"
    )
    budget: Literal["equal-epochs", "equal-compute"] = option(
        "equal-epochs", help="`equal-compute` gives each method as many epochs as cost what the baseline's cost"
    )
    control: bool = option(
        True,
        help="With equal epochs and --methods that cost more than the baseline, also train the baseline for as many epochs as cost what "
        "the costliest method costs",
        affects="cost",
    )
    count_teacher: bool = option(False, help="Count the training of a teacher towards the equal compute of each method that uses it")
    score_on_unused: int = option(
        0,
        at_least=0,
        help="Score on this many training samples that no run uses, instead of the test set: for choices that must not see it",
    )
    split_by_seed: bool = option(
        False, help="Split the data anew for every seed (split seed plus seed), so that intervals cover other splits, too"
    )
    holdout_by_seed: bool = option(False, help="Draw the hold-out set anew for every seed; the test set stays as it is")
    out: str | Path | None = option(
        None, help="Folder of the comparison and of all its runs", default_help="runs/compare-DATA-STUDENT", affects="nothing"
    )
    overwrite: bool = option(False, help="Delete the comparison in --out first", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(CodeOptions, ProgressOptions, DeviceOptions, CacheOptions, ErrorOptions, TableOptions):
    """Options of `studygroup evaluate`."""

    title = "evaluation"

    run: str | Path = field(kw_only=False, metadata={"help": "Run folder, or exported file"})
    data: str | Path | PythonData | None = option(
        None, help="Data to evaluate on; its test set if it has one", default_help="the run's own test set"
    )
    unknown_classes: Literal["stop", "skip", "count"] = option(
        "stop",
        help="What to do about samples of --data whose class the run does not know: `stop`, `skip` them, or `count` them as wrong",
    )
    members: Sequence[str] = option(("best",), help="Members to evaluate; `all` for all of them and their ensemble")
    batch_size: int = option(500, at_least=1, at_most=MOST_SAMPLES, help="Batch size", affects="cost")


@dataclass(frozen=True, kw_only=True)
class PredictOptions(CodeOptions, DeviceOptions, ErrorOptions, TableOptions):
    """Options of `studygroup predict`."""

    title = "prediction"

    run: str | Path = field(kw_only=False, metadata={"help": "Run folder, or exported file"})
    inputs: Sequence[str | Path] = field(
        default=(),
        kw_only=False,
        metadata={"help": "Image files or folders of images; for texts: texts, text files, or `-` for one text per line of standard input"},
    )
    data: str | Path | PythonData | None = option(
        None,
        help="Table of texts, with or without labels, or folder of images or text files to classify, instead of inputs",
        default_help="the inputs",
    )
    out: str | Path | None = option(
        None, help="CSV file to write the predictions to, one batch after the other", default_help="standard output", affects="nothing"
    )
    as_text: bool = option(False, help="Take every input as a text, even if it looks like the name of a file")
    member: str = option("best", help="Member that predicts")
    top: int = option(1, at_least=1, help="Number of classes to list per sample")
    batch_size: int = option(500, at_least=1, at_most=MOST_SAMPLES, help="Batch size", affects="cost")

    def __post_init__(self) -> None:
        """Check that there is something to classify, once."""
        super().__post_init__()
        given = not isinstance(self.inputs, list | tuple) or bool(self.inputs)  # from Python, anything that can be classified
        if given and self.data is not None:
            inputs = f" ({self.inputs[0]}, ...)" if isinstance(self.inputs, list | tuple) else ""
            data = f" {self.data}" if isinstance(self.data, str | Path) else ""
            raise UserError(f"both inputs{inputs} and --data{data} are given; give one of them")
        if not given and self.data is None:
            raise UserError("there is nothing to classify; give images, texts or files, or --data with a table or a folder")
        if self.out is not None and self.top != 1:
            raise UserError(f"top is {self.top}, but --out has the most probable class only; take --format jsonl, or leave out --top")
        if self.data is not None and self.as_text:
            raise UserError("as_text is for inputs; the rows of --data are texts anyway: leave it out")
        reading = next((name for name in parameters_of(TableOptions) if getattr(self, name) and name != "encoding"), None)
        if reading is not None and self.data is None:
            raise UserError(f"{reading} is for tables; give one by --data, or leave out --{reading.replace('_', '-')}")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(CodeOptions, CacheOptions):
    """Options of `studygroup export`."""

    title = "exported file"

    run: str | Path = field(kw_only=False, metadata={"help": "Run folder"})
    format: Literal["onnx", "pt2", "torchscript", "safetensors", "huggingface"] = option(
        "onnx",
        help="Format: ONNX, torch's exported program, TorchScript (deprecated by torch), the weights alone, or of a member hf:FOLDER a "
        "folder for transformers",
    )
    member: str = option("best", help="Member to export; `ensemble` for the mean of the students' probabilities")
    out: str | Path | None = option(
        None, help="File to write, or folder for transformers", default_help="RUN/exported/MEMBER with the suffix of the format"
    )
    with_preprocessing: bool = option(False, help="Put scaling and normalisation of images into the graph, which takes uint8 pixels then")
    int8: bool = option(False, help="Quantise an ONNX file to int8, calibrated on up to 200 training samples; its logits may differ then")


@dataclass(frozen=True, kw_only=True)
class ListOptions(Options):
    """Options of `studygroup list`."""

    title = "what to list"

    kind: Literal["all", "methods", "networks", "data"] = field(
        default="all", kw_only=False, metadata={"help": "`methods`, `networks`, `data` or `all`"}
    )


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """Options of `studygroup report`."""

    title = "output"

    runs: Sequence[str | Path] = field(kw_only=False, metadata={"help": "Folders of runs, comparisons or studies"})
    out: str | Path | None = option(
        None,
        help="Folder for the report instead of the folder that it is of; of runs, also for leaderboard.md, leaderboard.csv, curves.png and "
        "metrics.png; of several runs, for a report that compares them beside the report of each",
        default_help="report.html in each folder",
    )
