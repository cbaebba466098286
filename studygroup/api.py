"""The public functions. Each is a function of one class of options, called with its fields as keyword arguments.

Nothing heavy is imported before a function is called, so that `studygroup --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studygroup.options import (
    AdviseOptions,
    BenchmarkOptions,
    CompareOptions,
    EvaluateOptions,
    ExportOptions,
    ListOptions,
    PredictOptions,
    ReportOptions,
    StudyOptions,
    TrainOptions,
    keyword_function,
)

if TYPE_CHECKING:
    from studygroup.runs.member import Run


@keyword_function(TrainOptions)
def train(options: TrainOptions) -> Run:
    """Train a group of networks that teach each other, and return the finished run.

    From Python, `data` may also be a pandas DataFrame, with `text_columns` and `label_column`, a pair of lists, (texts, labels), or a
    pair (images, labels) of a uint8 array (N, H, W, C) and a list. Such data is written into the cache, and the run's configuration names
    the file.

    Whatever is trained first (a teacher by name, assistants, first stages) is a run of its own in `stages/` of the run folder.

    Returns:
        The finished run: `run.best` is the student to deploy, `run.members` are all members.

    Raises:
        UserError: an option that cannot work; the message names the value and the remedy.
        TrainingError: the run could not continue; what was saved before is kept.

    Example:
        >>> import studygroup as sg
        >>> run = sg.train("digits", student="resnet8", method="dml", epochs=1, train_size=100, out="runs/first")
        >>> run.best.network.training, len(run.best.classes)
        (False, 10)
    """
    from studygroup.commands import train

    return train.run(options)


@keyword_function(BenchmarkOptions)
def benchmark(options: BenchmarkOptions) -> dict[str, object]:
    """Measure what training a group would cost on this machine and data, beside the student alone.

    Training steps of each are timed in turn, for about a minute unless --steps is given. Nothing is trained to the end or written. A
    teacher that is given as a network by name is used untrained.

    Returns:
        `rows`: for the student alone, the group and other group sizes: `name`, `students`, trainable `parameters`, `steps_per_epoch`,
        `seconds_per_step` and `seconds_per_epoch` (medians, without evaluation), `samples_per_second`, `ratio` to the student alone with
        `ratio_quartiles`, `memory` (peak bytes of live tensors in a step) and `options`. `left_out`: group sizes that cannot be trained
        here, with the reason. Also what was measured, and the `machine`.

    Raises:
        UserError: an option that cannot work; the message names the value and the remedy.
        TrainingError: a loss is not finite.

    Example:
        >>> import studygroup as sg
        >>> measured = sg.benchmark("digits", student="resnet8", method="cgl", steps=1, repeats=1, group_sizes=[])
        >>> [row["name"] for row in measured["rows"]]
        ['resnet8 alone', 'cgl, 8 students, p = 0.25']
    """
    from studygroup.commands import benchmark

    return benchmark.run(options)


@keyword_function(CompareOptions)
def compare(options: CompareOptions) -> dict[str, object]:
    """Train several methods over several seeds, and write a leaderboard.

    The baseline is always included: differences are to it, seed by seed. The same command continues where it stopped and trains nothing
    twice; more methods or seeds can be added later. The table is sorted by hold-out accuracy, never by test accuracy. Options of a
    training go to all methods that take them.

    Returns:
        `rows`: by variant: means over seeds as in `studygroup.report`, with the `difference` to the baseline and its 95% interval,
        `epochs`, `flops` of the training, and more. `failed`: run -> reason. `out`: the folder.

    Raises:
        UserError: an option that cannot work; the message names the value and the remedy. Nothing was trained.

    Example:
        >>> import studygroup as sg
        >>> short = {"epochs": 1, "train_size": 100, "control": False}
        >>> found = sg.compare("digits", student="resnet8", methods=["dml"], seeds=1, out="runs/compared", **short)
        >>> sorted(row["variant"] for row in found["rows"])
        ['baseline', 'dml', 'linear']
    """
    from studygroup.commands import compare

    return compare.run(options)


@keyword_function(AdviseOptions)
def advise(options: AdviseOptions) -> dict[str, Any]:
    """Find out, within a time limit, whether to train longer, take a larger network or a group, and hand over the best student.

    First the student is trained alone for longer and longer, until twice the epochs gain no more than noise. Then candidates are compared
    at equal total compute, teachers included: the better half goes on to twice the compute. All choices are made on hold-out sets, drawn
    anew for each seed; the test set is scored once, for the winner. The same command continues where it stopped.

    Returns:
        `winner`, its row; `rows` by candidate: `name`, `about`, `kind`, `epochs`, `holdout`, the `difference` to the student alone at equal
        compute with its 95% interval `low`, `high` and standard error `noise`, and the operations of `training` and `inference`; `command`,
        which trains the winner; `run`, its folder; `test`, its test accuracy with interval; and what the student alone showed.

    Raises:
        UserError: an option that cannot work, or too little time or data; the message names the value and the remedy.
        TrainingError: the student alone cannot be trained.

    Example:
        >>> import studygroup as sg
        >>> sg.advise("digits", time_limit="1s")
        Traceback (most recent call last):
            ...
        studygroup.errors.UserError: time_limit is 1s, but the student alone and one candidate, ... here; give more, or fewer --seeds
    """
    from studygroup.commands import advise

    return advise.run(options)


@keyword_function(StudyOptions)
def study(options: StudyOptions) -> dict[str, Any]:
    """Repeat a table or a figure of a paper: its runs, its numbers beside the published ones, its figure, and a verdict on each claim.

    A study is comparisons, which are resumable and parallel: the same command continues where it stopped. It prints what it will cost, and
    above 24 hours it starts with --yes only. A claim holds, is opposite or undecided by the 95% interval of paired differences over seeds;
    each seed has a data split of its own. `studygroup study list` lists the studies.

    Returns:
        `cells`, the numbers of the table: `row`, `column`, `mean`, `std`, `by_seed`, `published`, ...; `claims`: `text`, `verdict`,
        `reason` and `parts` with `mean`, `low`, `high` and `by_seed`; `failed`: run -> reason; `out`: the folder with `study.md`,
        `study.csv`, `study.json`, `figure.png` and `figure.svg`. Of `list`: `studies`.

    Raises:
        UserError: an option that cannot work; the message names the value and the remedy. Nothing was trained.

    Example:
        >>> import studygroup as sg
        >>> sg.study("list")["studies"][0]["name"]
        'cgl-table2'
    """
    from studygroup.commands import study

    return study.run(options)


@keyword_function(EvaluateOptions)
def evaluate(options: EvaluateOptions) -> dict[str, dict[str, Any]]:
    """Evaluate members of a run on its test set, or on other data with the run's classes; or an exported file on data.

    Returns:
        By member, or by the name of the exported file: `accuracy` in [0, 1], `cross_entropy` in nats, `samples`, and the other attributes
        of `Run.evaluation`: `top5`, `calibration_error`, `precision`, `recall`, `f1` and `support` of each of `classes`, and `confusions`.

    Raises:
        UserError: the run, a member or the data cannot be used.

    Example:
        >>> import studygroup as sg
        >>> scores = sg.evaluate("runs/digits")["best"]
        >>> scores["samples"], 0 <= scores["accuracy"] <= 1
        (359, True)
    """
    from studygroup.commands import evaluate

    return evaluate.run(options)


@keyword_function(PredictOptions)
def predict(options: PredictOptions) -> list[dict[str, Any]]:
    """Classify images or texts with a trained member, or with an exported file.

    --data takes a table of texts, with labels or without, or a folder; with --out the predictions are written batch by batch, so that a
    table of any size will do. On the command line, --format jsonl and --format csv print each batch as soon as it is computed.

    Returns:
        Per sample: `path`, `text` or both `row` and `text`; `true`, if the data has labels; `label`, `probability`, and `top`: the most
        probable classes as `[label, probability]` pairs. With `out` one row instead, a summary: `out`, `samples`, and of labelled data
        `labelled`, `unknown` (samples of classes that the run does not know) and `accuracy`.

    Raises:
        UserError: the run, the member or an input cannot be used.

    Example:
        >>> import studygroup as sg
        >>> rows = sg.predict("runs/digits", ["digit.png"], top=3)
        >>> list(rows[0]), len(rows[0]["top"])
        (['path', 'label', 'probability', 'top'], 3)
    """
    from studygroup.commands import predict

    return predict.run(options)


@keyword_function(PredictOptions)
def stream_predictions(options: PredictOptions) -> Iterator[dict[str, Any]]:
    """Classify images or texts like `predict`, and yield the rows as batches are computed.

    Raises:
        UserError: the run, the member or an input cannot be used.

    Example:
        >>> from studygroup.api import stream_predictions
        >>> [row["path"] for row in stream_predictions("runs/digits", ["digit.png"])]
        ['digit.png']
    """
    from studygroup.commands import predict

    return predict.stream(options)


def list_runs(folder: str | Path = "runs", allow_code: Collection[str] = ()) -> list[Run]:
    """Open the finished runs in a folder, at any depth, in the order in which they finished.

    Args:
        folder: with run folders in it.
        allow_code: import paths of networks that the runs' files may name, as of `Run`.

    Raises:
        UserError: there is no such folder, or a result is damaged.

    Example:
        >>> import studygroup as sg
        >>> [run.result["method"] for run in sg.list_runs("runs") if run.folder.name == "digits"]
        ['cgl']
    """
    from studygroup.runs import member

    return member.list_runs(folder, allow_code)


@keyword_function(ExportOptions)
def export(options: ExportOptions) -> dict[str, Any]:
    """Export a trained member as a file that runs without studygroup, and check the file.

    The file is run on up to 500 hold-out samples and compared with the network in float32; if logits differ by more than 1e-4 of the
    largest, it is removed (of an int8 file, the difference is only reported). Beside it are its cards, FILE.json and FILE.md, and for
    texts `tokenizer/`; a folder for transformers has all of them in it. Programs that use such files are in docs/deploy.md.

    Returns:
        The content of FILE.json, `path`, and `cards`, their paths. `check` has the largest relative `difference` of logits, the `agreement`
        of labels, and `accuracy`, `bytes` and `seconds` per sample (batches of 1 and 64) of the `network` and of the `file`.

    Raises:
        UserError: the run or the member cannot be used, a package is missing, the network cannot be exported, or the file not written.
        TrainingError: the file's results differ from the network's.

    Example:
        >>> import studygroup as sg
        >>> card = sg.export("runs/digits", format="safetensors", out="digits.safetensors")
        >>> card["network"], card["parameters"]
        ('resnet8', 77754)
    """
    from studygroup.commands import export

    return export.run(options)


@keyword_function(ListOptions)
def list_names(options: ListOptions) -> dict[str, dict[str, str]]:
    """List methods, networks and data sets.

    Returns:
        By kind: name -> one line on it.

    Example:
        >>> import studygroup as sg
        >>> list(sg.list_names())
        ['methods', 'networks', 'data']
        >>> sg.list_names("data")["data"]["digits"]
        '1,797 handwritten digits, 8x8, grey, 10 classes; installed with scikit-learn'
    """
    from studygroup.commands import list_names

    return list_names.run(options)


@keyword_function(ReportOptions)
def report(options: ReportOptions) -> list[dict[str, object]]:
    """Write the report of runs, comparisons or studies: one HTML file each; of runs, compute a leaderboard, too.

    The file needs no network: open it in a browser, send it to somebody, print it. Runs may be unfinished.

    Returns:
        The rows of the leaderboard, one per group of runs that differ in their seed only, each with the paths `report` of their files;
        then `kind`, `folder` and `report` of each comparison and study.

    Raises:
        UserError: a folder holds nothing of the kind, or a damaged file, or the report cannot be written.

    Example:
        >>> import studygroup as sg
        >>> rows = sg.report(["runs/digits"])
        >>> rows[0]["method"], rows[0]["report"]
        ('cgl', ['runs/digits/report.html'])
    """
    from studygroup.commands import report

    return report.run(options)
