"""The options of a run, each written once: the Python signatures, the command line, recipes and run configurations are made from them.

A group is a frozen dataclass. What takes several groups inherits from them (the last base's fields come first): `options.epochs` is one
attribute wherever it is used, and a function that needs the data options only takes `DataOptions`. `affects` says what another value of
an option changes: the result of a run (then a run can only be resumed with the same value), only its cost, or neither.
"""

from studygroup.options.advise import AdviseOptions
from studygroup.options.base import (
    FROM_PYTHON,
    RENAMED,
    Options,
    as_tuple,
    checked,
    keyword_function,
    note_of_object,
    plain,
    unknown_option,
)
from studygroup.options.commands import (
    BenchmarkOptions,
    CompareOptions,
    EvaluateOptions,
    ExportOptions,
    ListOptions,
    PredictOptions,
    RankOptions,
    ReportOptions,
    Sharding,
    TrainOptions,
)
from studygroup.options.groups import (
    CacheOptions,
    CheckpointOptions,
    DataOptions,
    DeviceOptions,
    ErrorOptions,
    HardwareOptions,
    MethodOptions,
    NetworkOptions,
    OnError,
    OptimizerOptions,
    Precision,
    ProgressOptions,
    ScheduleOptions,
    SeedOptions,
    SelectionOptions,
    Stem,
    TableOptions,
)
from studygroup.options.recipe import RecipeOptions, duration
from studygroup.options.run import RunOptions, TrainerOptions
from studygroup.options.study import StudyOptions
from studygroup.options.unlabelled import UnlabelledOptions
from studygroup.options.weights import WeightsOptions

__all__ = [
    "FROM_PYTHON",
    "RENAMED",
    "AdviseOptions",
    "BenchmarkOptions",
    "CacheOptions",
    "CheckpointOptions",
    "CompareOptions",
    "DataOptions",
    "DeviceOptions",
    "ErrorOptions",
    "EvaluateOptions",
    "ExportOptions",
    "HardwareOptions",
    "ListOptions",
    "MethodOptions",
    "NetworkOptions",
    "OnError",
    "OptimizerOptions",
    "Options",
    "Precision",
    "PredictOptions",
    "ProgressOptions",
    "RankOptions",
    "RecipeOptions",
    "ReportOptions",
    "RunOptions",
    "ScheduleOptions",
    "SeedOptions",
    "SelectionOptions",
    "Sharding",
    "Stem",
    "StudyOptions",
    "TableOptions",
    "TrainOptions",
    "TrainerOptions",
    "UnlabelledOptions",
    "WeightsOptions",
    "as_tuple",
    "checked",
    "duration",
    "keyword_function",
    "note_of_object",
    "plain",
    "unknown_option",
]
