"""Option groups: what a run depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from studygroup.errors import UserError
from studygroup.options.base import MOST_PROCESSES, MOST_SAMPLES, Options, as_tuple
from studygroup.options.code import CodeOptions
from studygroup.parameters import option

if TYPE_CHECKING:
    from torch import nn

    PythonData: TypeAlias = Any  # from Python: a pandas DataFrame, or a pair of samples and labels (`studygroup.data.given`)

OnError = Literal["stop", "skip"]
Precision = Literal["auto", "bf16", "float32"]
Stem = Literal["auto", "small", "medium", "large"]


class MethodObject(Protocol):
    """A method from Python, `studygroup.methods.Method`, which this module must not import."""

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor by name."""


EPOCHS_HELP = "the preset's, by the number of training samples"
DATA_HELP = (
    "Name of a data set (`studygroup list data`), optionally with its location (`cifar10:/path/to/archive`), a folder of images or texts "
    "with one sub-folder per class, an archive of one, or a table of texts and labels (CSV, TSV, JSONL, Parquet)"
)


@dataclass(frozen=True, kw_only=True)
class ProgressOptions(Options):
    """Progress bars."""

    title = "output"

    progress: bool = option(True, help="Show progress bars", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class TableOptions(Options):
    """Reading of tables and text files."""

    title = "data"

    text_columns: Sequence[str] = option(
        (), help="Columns of a table with the text, joined by a space", default_help="columns with usual names such as text or review"
    )
    label_column: str | None = option(
        None, help="Column of a table with the class label", default_help="the column with a usual name such as label or class"
    )
    encoding: str | None = option(None, help="Encoding of text files", default_help="UTF-8, or what a byte order mark says")
    delimiter: str | None = option(
        None, help="Character between the columns of a CSV or TSV file, or `tab`", default_help="found: a comma, semicolon, | or tab"
    )

    def __post_init__(self) -> None:
        """Check that the delimiter is one character."""
        super().__post_init__()
        if self.delimiter is not None and self.delimiter not in ("tab", "\\t") and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise UserError(f"delimiter is {self.delimiter!r}; give one character such as ; or |, or the word tab")


@dataclass(frozen=True, kw_only=True)
class ErrorOptions(Options):
    """Handling of unreadable samples."""

    title = "data"

    on_error: OnError = option("stop", help="What to do about an unreadable image or row: `stop` or `skip`", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class CacheOptions(Options):
    """Folder of downloads and prepared data."""

    title = "data"

    cache: str | Path | None = option(
        None,
        help="Folder for downloads and prepared data",
        default_help="$STUDYGROUP_CACHE, or ~/.cache/studygroup",
        affects="nothing",
    )


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Device to compute on."""

    title = "hardware"

    device: str = option("auto", help="Device: `auto`, `cpu`, `cuda`, `cuda:1`, ...", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class SeedOptions(Options):
    """Random seed of the training."""

    title = "optimisation"

    seed: int = option(0, at_least=0, help="Random seed, except for the data split (see --split-seed)")


@dataclass(frozen=True, kw_only=True)
class DataOptions(ProgressOptions, CacheOptions, ErrorOptions, TableOptions):
    """Data set, its reading and its splits."""

    title = "data"

    data: str | Path | PythonData = field(kw_only=False, metadata={"help": DATA_HELP})
    train_size: float | None = option(
        None, above=0, help="Number of training samples to use (above 1), or their fraction (at most 1)", default_help="all"
    )
    holdout: float | None = option(
        None,
        at_least=0,
        help="Number (above 1) or fraction of the training samples to hold out for selection; 0 for none",
        default_help="the data's own hold-out set (val), else 0.1",
    )
    test_size: float = option(0.2, at_least=0, help="Number (above 1) or fraction of the samples to test on if the data has no test set")
    split_seed: int = option(0, at_least=0, help="Seed of the split into training, hold-out and test sets")
    holdout_seed: int | None = option(
        None, at_least=0, help="Seed of the hold-out set alone; another one leaves the test set as it is", default_help="the split seed"
    )
    image_size: int | None = option(
        None,
        at_least=1,
        at_most=4096,
        help="Height and width that images are resized to",
        default_help="32 for folders, else the data's own",
    )
    channels: int | None = option(None, help="1 for grey, 3 for colour images", default_help="the data's own")
    augment: str = option(
        "auto",
        help="Augmentation of images: `none`; `light` (crop and flip); `medium` (and TrivialAugment, random erasing); `strong` (and mixup "
        "or cutmix); or a list such as `crop,rotate=15,cutmix`; `auto` is the preset's. Words flip only where that keeps the class",
    )
    tokenizer: str = option(
        "auto",
        help="`bpe` (trained on the training texts; `bpe-lower` ignores case), `chars`, or `hf:FOLDER`; `auto` asks the student",
    )
    vocabulary: int | None = option(
        None,
        at_least=2,
        at_most=1_000_000,
        help="Maximum vocabulary size of `bpe`",
        default_help="16000, and no token that occurs fewer than 100 times in the training texts",
    )
    max_length: int | None = option(
        None,
        at_least=1,
        at_most=2**20,
        help="Maximum number of tokens of a text; longer texts are truncated",
        default_help="512 tokens, or 1024 characters",
    )
    download: bool = option(False, help="Download the data set if it is not there", affects="nothing")

    def __post_init__(self) -> None:
        """Check values that depend on each other."""
        super().__post_init__()
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels is {self.channels}; it must be 1 (grey) or 3 (colour)")


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(CodeOptions):
    """Networks of student, peers and teacher."""

    title = "networks and method"

    student: str | nn.Module | None = option(
        None,
        help="Network to deploy: a name of `studygroup list networks`, `timm:NAME`, `hf:FOLDER`, or `package.module:function`",
        default_help="resnet8 for images, transformer for texts",
    )
    stem: Stem = option(
        "auto",
        help="Stem of ResNets and MobileNetV2: `small` for images of about 32 pixels, `medium` for 64, `large` for 128 and more",
    )
    peers: Sequence[str] = option((), help="Networks of the other students, if they differ from the student")
    teacher: str | Path | nn.Module | Sequence[str | Path | nn.Module] | None = option(
        None,
        help="Teacher: a run folder, a network by name (trained first), `auto` (the next larger network of the student's family), or "
        "`package.module:function` that returns a trained network; several for methods that take them, such as kd",
    )

    def __post_init__(self) -> None:
        """Write one teacher without a list."""
        super().__post_init__()
        given = self.teachers
        object.__setattr__(self, "teacher", given if len(given) > 1 else given[0] if given else None)

    @property
    def teachers(self) -> tuple[str | Path | nn.Module, ...]:
        """Return all teachers."""
        return as_tuple(self.teacher)


@dataclass(frozen=True, kw_only=True)
class MethodOptions(Options):
    """Training method and its options."""

    title = "networks and method"

    method: str | MethodObject = option(
        "baseline",
        help="Training method: `baseline` (the student alone) or another of `studygroup list methods`, `package.module:Class`, or `auto` "
        "(train): what `advise` finds",
    )
    method_options: Mapping[str, object] | None = option(None, help="Options of the method")


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Options):
    """Batches and optimizer."""

    title = "optimisation"

    epochs: int | None = option(None, at_least=1, help="Number of passes over the training set", default_help=EPOCHS_HELP)
    batch_size: int = option(64, at_least=1, at_most=MOST_SAMPLES, help="Batch size")
    optimizer: Literal["auto", "sgd", "adam", "adamw"] = option("auto", help="Optimizer; `auto` takes SGD for images and Adam for texts")
    learning_rate: float | None = option(
        None, above=0, at_most=1e30, help="Peak learning rate", default_help="0.05 for SGD, 0.001 for Adam and AdamW"
    )
    momentum: float = option(0.9, at_least=0, below=1, help="Momentum of SGD")
    nesterov: bool = option(True, help="Nesterov momentum")
    weight_decay: float | None = option(
        None, at_least=0, at_most=1e6, help="Weight decay", default_help="0.0005 for SGD, 0 for Adam, 0.01 for AdamW"
    )
    clip_grad_norm: float | None = option(
        None, above=0, help="Clip the norm of the gradient of all parameters to this value", default_help="no clipping"
    )
    microbatches: int = option(1, at_least=1, help="Split each batch into this many parts and accumulate their gradients, to save memory")


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(Options):
    """Learning rate schedule."""

    title = "learning rate schedule"

    schedule: Literal["cosine", "milestones", "constant"] = option("cosine", help="Learning rate schedule")
    milestones: Sequence[int] = option((), at_least=0, help="Epochs (0-based) at which the learning rate is multiplied by gamma")
    gamma: float = option(0.1, above=0, help="Factor at each milestone")
    warmup: float = option(0.0, at_least=0, help="Number of epochs of linear warm-up")
    learning_rate_scales: Mapping[str, float] | None = option(
        None, at_least=0, help="Learning rate factors of single members, e.g. `pivot=0.1`"
    )

    trained_rate_scale: float = option(
        1.0, above=0, help="Learning rate factor of parameters that start from trained weights; others, as a new head, have the full rate"
    )

    def __post_init__(self) -> None:
        """Check values that depend on each other."""
        super().__post_init__()
        if list(self.milestones) != sorted(set(self.milestones)):
            raise UserError(f"milestones are {', '.join(f'{stop:g}' for stop in self.milestones)}; they must increase")
        if self.schedule != "milestones":
            given = "milestones" if self.milestones else "gamma" if self.gamma != type(self).gamma else None
            if given is not None:
                raise UserError(
                    f"{given} is given, but the schedule is {self.schedule}, which has none; give --schedule milestones, or leave it out"
                )


@dataclass(frozen=True, kw_only=True)
class SelectionOptions(Options):
    """Selection and evaluation of members."""

    title = "selection"

    select_from: Literal["all", "last"] = option(
        "all", help="Epochs from which the hold-out selects the student: `all`, or the `last` one, which suits a small hold-out set"
    )
    score_test: bool = option(
        True,
        help="Score the test set at the end; a run without these scores gets them by `--resume --score-test`",
        affects="nothing",
    )
    linear_model: bool = option(
        True,
        help="Fit a linear model beside the network (tf-idf of texts, pixels of images), and show its accuracy in the results",
        affects="nothing",
    )
    hand_over: Literal["auto", "selected", "route", "soup", "ensemble", "distilled"] = option(
        "auto",
        help="What is deployed: by `auto`, what the method asks for (`soup` with papa, else `selected`); the student that the hold-out set "
        "`selected`; the best `route` through cgl's modules, trained or not; the "
        "average of the students' weights (`soup`); all students as one `ensemble`; or a student `distilled` from the ensemble by kd in a "
        "last stage",
    )
    hand_over_epochs: int | None = option(
        None, at_least=1, help="Epochs of the last stage of --hand-over distilled", default_help="as many as the group's"
    )
    recalibrate_bn: bool = option(False, help="Re-estimate the batch-norm statistics of a copy of each member before it is evaluated")


@dataclass(frozen=True, kw_only=True)
class HardwareOptions(DeviceOptions):
    """Device, precision and compilation."""

    title = "hardware"

    precision: Precision = option("auto", help="bfloat16 autocast or float32; `auto` takes bf16 where the hardware has it")
    channels_last: bool | None = option(None, help="Memory format of images", default_help="channels-last where it is faster")
    compile: bool = option(False, help="Compile the networks with `torch.compile`", affects="cost")
    threads: int | None = option(
        None,
        at_least=1,
        at_most=MOST_PROCESSES,
        help="CPU threads of a process; `auto` measures a few steps with 1, 2, 4, ... threads. The last bits of a result depend on it",
        default_help="$OMP_NUM_THREADS, else auto",
        affects="cost",
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """Checkpoints and logs."""

    title = "output"

    checkpoint_steps: int | None = option(
        None, at_least=1, help="Save a checkpoint every N steps, too", default_help="at the end of each epoch only", affects="nothing"
    )
    tensorboard: bool = option(False, help="Write TensorBoard logs to the run folder", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(Options):
    """Processes of a command that trains many runs."""

    title = "parallel runs"

    workers: int | None = option(
        None,
        at_least=1,
        at_most=MOST_PROCESSES,
        help="Number of parallel processes",
        default_help="one per GPU, or one per CPU core",
        affects="cost",
    )


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(WorkerOptions):
    """Processes on one machine or on a Ray cluster."""

    title = "parallel runs"

    ray: str | None = option(None, help="Address of a Ray cluster to run on (`auto` on one of its machines)", affects="cost")

    reuse: Sequence[str | Path] = option(
        (),
        help="Folders of other comparisons and studies: their finished runs of the same options are copied instead of trained again",
        affects="cost",
    )
