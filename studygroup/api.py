"""The public functions. The command line is made from their signatures and docstrings: the same words, the same defaults.

Nothing heavy is imported before a function is called, so that `studygroup --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studygroup.parameters import parameters_of, with_words_of

if TYPE_CHECKING:
    from torch import nn

    from studygroup.methods.method import Method
    from studygroup.runs.member import Run

NOT_MEASURED = (  # words of `train` that change nothing in the cost of a step here
    *("out", "resume", "overwrite", "checkpoint_steps", "tensorboard", "select_from", "recalibrate_bn"),
    *("learning_rate_scales", "schedule", "milestones", "gamma", "warmup", "teacher_epochs"),
    *("devices", "nodes", "rendezvous", "shard"),
)


def train(
    data: str | Path,
    *,
    student: str | nn.Module | None = None,
    stem: Literal["auto", "small", "medium", "large"] = "auto",
    method: str | Method = "cgl",
    method_options: Mapping[str, object] | None = None,
    peers: Sequence[str] = (),
    teacher: str | Path | nn.Module | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    epochs: int = 100,
    batch_size: int = 64,
    optimizer: Literal["auto", "sgd", "adam", "adamw"] = "auto",
    learning_rate: float | None = None,
    learning_rate_scales: Mapping[str, float] | None = None,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float | None = None,
    schedule: Literal["cosine", "milestones", "constant"] = "cosine",
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
    warmup: float = 0.0,
    clip_grad_norm: float | None = None,
    microbatches: int = 1,
    teacher_epochs: int | None = None,
    train_size: float | None = None,
    holdout: float = 0.1,
    select_from: Literal["all", "last"] = "all",
    test_size: float = 0.2,
    split_seed: int = 0,
    image_size: int | None = None,
    channels: int | None = None,
    augment: Literal["auto", "none", "crop", "crop+flip"] = "auto",
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    encoding: str | None = None,
    tokenizer: str = "auto",
    vocabulary: int = 16_000,
    max_length: int | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    download: bool = False,
    cache: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    rendezvous: str | None = None,
    shard: Literal["samples", "students", "members"] = "samples",
    precision: Literal["auto", "bf16", "float32"] = "auto",
    channels_last: bool | None = None,
    compile: bool = False,
    recalibrate_bn: bool = False,
    checkpoint_steps: int | None = None,
    tensorboard: bool = False,
    progress: bool = True,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Train a group of networks that teach each other, and leave the one to deploy.

    Args:
        data: a data set of `studygroup list data`, perhaps with where it lies (`cifar10:/path/to/archive`), a folder of images or of
            texts with one sub-folder per class, or a table of texts and labels (CSV, TSV, JSONL, Parquet).
        student: the network to deploy: a name of `studygroup list networks`, `timm:NAME`, `hf:FOLDER` (a Hugging Face sequence
            classifier), or `package.module:function`; by default `resnet8` for images and `transformer` for texts.
        stem: how much the first layers of the resnets and of mobilenetv2 shrink the images: `small` is for images of about 32
            pixels, `medium` for 64, `large` for 128 and more; `auto` goes by the size of the images. `resnet18@large` asks for it
            by name, for one network.
        method: how the group learns: a name of `studygroup list methods`.
        method_options: the method's own options.
        peers: networks of the other students, if they are to differ from the student's.
        teacher: a trained run's folder, `package.module:function` of a trained network, or the name of a network that is trained
            first.
        out: the run's folder; by default `runs/DATA-METHOD-STUDENT-sSEED`.
        seed: of everything random but the division into training, hold-out and test sets.
        epochs: passes over the training set.
        batch_size: samples per step.
        optimizer: `sgd`, `adam` or `adamw`; `auto` takes SGD for images and Adam for texts.
        learning_rate: at its highest; by default 0.05 with SGD, 0.001 with the others.
        learning_rate_scales: factors on the learning rate by member, e.g. `pivot=0.1`.
        momentum: of SGD.
        nesterov: Nesterov's momentum with SGD.
        weight_decay: on all parameters; by default 0.0005 with SGD, 0 with Adam, 0.01 with AdamW.
        schedule: of the learning rate: `cosine`, `milestones` or `constant`.
        milestones: epochs (0-based) at which the learning rate is multiplied by gamma.
        gamma: factor at each milestone.
        warmup: epochs over which the learning rate rises from 0.
        clip_grad_norm: largest joint norm of an update's gradients.
        microbatches: cut each batch into this many parts, to save memory.
        teacher_epochs: epochs of a teacher that is trained first; by default as many as the student's. Whatever is trained first is a
            run of its own in `stages/` of the run's folder.
        train_size: how many training samples to use (a number above 1), or which share of them; all by default.
        holdout: how many samples (a number above 1) or which share to keep for selection; 0 for none.
        select_from: epochs out of which the hold-out selects the student: `all`, as in the CGL paper, or the `last`, which a
            small hold-out set cannot mislead as far.
        test_size: share kept for the test if the data has no test set of its own, or how many samples (a number above 1).
        split_seed: of the division into training, hold-out and test sets.
        image_size: height and width to resize images to; for folders 32 unless given, else the data's own.
        channels: 1 for grey, 3 for colour; the data's own by default.
        augment: random crop (padding an eighth of the size) and horizontal flip of images; `auto` asks the data set.
        text_columns: of a table, the columns with the text, joined by a space; by default found by their names.
        label_column: of a table, the column with the class; by default found by its name.
        encoding: of files of texts; UTF-8 unless they begin with another mark.
        tokenizer: `bpe` (learnt from the training texts; `bpe-lower` knows no capital letters), `chars`, or `hf:FOLDER`; `auto` asks
            the student.
        vocabulary: number of tokens of `bpe`, at most.
        max_length: tokens that a text is cut to; by default 512, or 1024 characters.
        on_error: what an unreadable image, or row of a table, does: `stop` or `skip`.
        download: fetch the data set from its publisher if it is not there.
        cache: where prepared data and downloads are kept; by default `$STUDYGROUP_CACHE` or `~/.cache/studygroup`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, …
        devices: processes (ranks) on this machine that train together: one per GPU, or sharing the cores.
        nodes: machines that run this very command; or start it by `torchrun` on each. They see the same folders.
        rendezvous: `HOST:PORT` where several nodes meet.
        shard: what is spread over the ranks: `samples` (data-parallel), `students` with their shares (cgl), or `members`, separate
            networks that exchange logits only (dml, orc and others).
        precision: `bf16` autocast or `float32`; `auto` takes bf16 where the hardware has it.
        channels_last: memory format of images; by default where it is faster.
        compile: compile the networks with `torch.compile`.
        recalibrate_bn: re-estimate batch-norm statistics of a copy of each member before it is evaluated.
        checkpoint_steps: save every so many steps as well as at every epoch's end.
        tensorboard: log to TensorBoard's format in the run's folder, too.
        progress: show progress bars.
        resume: go on where the run in `out` stopped.
        overwrite: delete what is in `out`.

    Returns:
        The finished run: `run.best` is the student to deploy, `run.members` are all of them.

    Raises:
        UserError: something given cannot work; the message names the value and the remedy.
        TrainingError: the run could not go on; what was saved before is kept.
    """
    from studygroup import session

    arguments = {name: value for name, value in locals().items() if name != "session"}
    return session.train(arguments)


@with_words_of(train, without=NOT_MEASURED)
def benchmark(
    data: str | Path,
    *,
    teacher: str | Path | nn.Module | None = None,
    group_sizes: Sequence[int] | None = None,
    steps: int | None = None,
    repeats: int = 15,
    epochs: int = 100,
    **words: Any,
) -> dict[str, object]:
    """Measure what training a group would cost here, on this data, beside the student alone.

    Training steps of each are timed in turn, a minute in all unless --steps says otherwise, and nothing is trained to the end or
    written. The words below --epochs are those of `studygroup train`.

    Args:
        data: a data set, a folder or a table, as for `studygroup train`.
        teacher: a trained run's folder, or a network, which is taken as it is initialised.
        group_sizes: other numbers of students to measure as well; by default 2,4,8,16,32 for a method that imitates with a
            probability (cgl), which is changed along so that each student imitates as many.
        steps: training steps of each in every repetition; by default as many as let all end in about a minute.
        repeats: how often each has its turn.
        epochs: that the whole training is to have.
        **words: those of `studygroup.train`.

    Returns:
        `rows`: for the student alone, for the group and for the other sizes: `name`, `students`, trained `parameters`,
        `steps_per_epoch`, `seconds_per_step` and `seconds_per_epoch` (medians, of training alone), `samples_per_second`, `ratio` to
        the student alone with `ratio_quartiles`, `memory` (bytes of live tensors at the highest in a step) and `options`.
        `left_out`: sizes that cannot be trained here, with the reason. Beside them what was measured, and the `machine`.

    Raises:
        UserError: something given cannot work; the message names the value and the remedy.
        TrainingError: a loss is not finite.
    """
    arguments = {**{name: value for name, value in locals().items() if name != "words"}, **words}
    from studygroup import session

    return session.benchmark(arguments)


@with_words_of(train, without=("seed", "devices", "nodes", "rendezvous", "shard", "resume"))
def compare(
    data: str | Path,
    *,
    methods: Sequence[str] = (),
    seeds: int = 3,
    options: Mapping[str, object] | None = None,
    variants: Mapping[str, object] | None = None,
    method: str | None = None,
    budget: Literal["equal-epochs", "equal-compute"] = "equal-epochs",
    count_teacher: bool = False,
    score_on_unused: int = 0,
    split_by_seed: bool = False,
    teacher: str | Path | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
    **words: Any,
) -> dict[str, object]:
    """Train several methods over several seeds, and leave a leaderboard.

    The baseline is always among them: differences are to it, seed by seed. The same command goes on where it was stopped, and runs
    nothing twice; more methods or more seeds join what is there. The table is sorted by hold-out accuracy, never by test accuracy.
    The words below --overwrite are those of `studygroup train` and go to all methods; what one of them does not take (a teacher,
    peers) it does not get.

    Args:
        data: a data set, a folder or a table, as for `studygroup train`.
        methods: what to compare: names of `studygroup list methods`.
        seeds: how many: 0, 1, ... up to one less.
        options: the methods' own options, e.g. `cgl.students=8 dml.students=4`.
        variants: in recipes: names, each with the words of `studygroup train` in which it differs, e.g.
            `dml-4: {method: {name: dml, students: 4}, epochs: 50}`.
        method: in recipes: of the variants that name none.
        budget: `equal-epochs`, or `equal-compute`: each method gets as many epochs as cost what the baseline's cost.
        count_teacher: let the training of a teacher count towards the equal compute of each method that learns from it.
        score_on_unused: score on this many training samples that are neither learnt from nor held out, in place of the test set: for
            choices that must not see it.
        split_by_seed: let every seed divide the data anew, into training, hold-out and test sets (those by split_seed plus the seed):
            differences and their intervals are then over other data, too, and not only over other weights to begin with.
        teacher: the name of a network, which is trained once per seed for all methods that learn from a teacher; a trained run's
            folder, with `{seed}` if there is one for each seed; in recipes also the name of a variant.
        out: the folder of the leaderboard and of all runs; by default `runs/compare-DATA-STUDENT`.
        workers: processes side by side, each with its share of the cores; by default one per GPU, without GPUs one per core.
        ray: address of a Ray cluster whose machines see the same folders (`auto` on one of its machines); the runs go there.
        overwrite: delete what is in `out`.
        **words: those of `studygroup.train`.

    Returns:
        `rows`: by variant: the means over seeds as in `studygroup.report`, with `difference` to the baseline and its 95% interval,
        `epochs`, `flops` of the training, and more. `failed`: run -> what went wrong. `out`: the folder.

    Raises:
        UserError: something given cannot work; the message names the value and the remedy. Nothing was trained.
    """
    arguments = {**{name: value for name, value in locals().items() if name != "words"}, **words}
    from studygroup.sweep import comparison

    return comparison.compare(arguments, parameters_of(train))


def evaluate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    members: Sequence[str] = ("best",),
    batch_size: int = 500,
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    encoding: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    cache: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, dict[str, float]]:
    """Measure members of a run on its test set or on other data.

    Args:
        run: the run's folder.
        data: other data: a folder with one sub-folder per class, a table of texts, or any data set with the run's classes; its test
            set if it has one.
        members: names of members; `all` for all of them and their ensemble.
        batch_size: samples at a time.
        text_columns: of another table, the columns with the text; by default those that the run was asked to learn from.
        label_column: of another table, the column with the class; likewise.
        encoding: of other files of texts; likewise.
        on_error: what an unreadable image, or row of a table, does: `stop` or `skip`.
        cache: where prepared data is kept.
        device: `auto`, `cpu`, `cuda`, …
        progress: show progress bars.

    Returns:
        By member: `accuracy` in [0, 1], `cross_entropy` in nats, and `samples`.

    Raises:
        UserError: the run, a member or the data cannot be used.
    """
    from studygroup import session

    return session.evaluate(
        run,
        data=data,
        members=members,
        batch_size=batch_size,
        columns={"text_columns": text_columns, "label_column": label_column, "encoding": encoding},
        on_error=on_error,
        cache=cache,
        device=device,
        progress=progress,
    )


def predict(
    run: str | Path,
    inputs: Sequence[str | Path],
    *,
    member: str = "best",
    top: int = 1,
    batch_size: int = 500,
    on_error: Literal["stop", "skip"] = "stop",
    device: str = "auto",
) -> list[dict[str, object]]:
    """Classify images or texts with a trained member.

    Args:
        run: the run's folder.
        inputs: image files, or folders of images (searched to any depth); of a run on texts: texts, files that hold one each, or `-`
            for one on each line of standard input.
        member: which member answers.
        top: how many classes to name for each.
        batch_size: samples at a time.
        on_error: what an unreadable image or file does: `stop` or `skip`.
        device: `auto`, `cpu`, `cuda`, …

    Returns:
        Per sample: `path` or `text`, `label`, `probability`, and `top`: the most probable classes as `[label, probability]` pairs.

    Raises:
        UserError: the run, the member or an input cannot be used.
    """
    from studygroup.runs.member import Run

    return Run(run).member(member).predict(inputs, top=top, batch_size=batch_size, on_error=on_error, device=device)


def list_names(kind: Literal["all", "methods", "networks", "data"] = "all") -> dict[str, dict[str, str]]:
    """Show what there is: methods, networks and data sets, with a line on each.

    Args:
        kind: `methods`, `networks`, `data` or `all`.

    Returns:
        By kind: name -> one line on it.
    """
    from studygroup import session

    return session.list_names(kind)


def report(runs: Sequence[str | Path], *, out: str | Path | None = None) -> list[dict[str, object]]:
    """Compare finished runs: a leaderboard, and their curves as a picture.

    Args:
        runs: run folders.
        out: folder for `leaderboard.md`, `leaderboard.csv` and `curves.png`; nothing is written unless given.

    Returns:
        The leaderboard's rows, one per group of runs that differ in their seed only.

    Raises:
        UserError: a folder holds no run.
    """
    from studygroup import reporting

    rows = reporting.leaderboard(runs)
    if out is not None:
        reporting.write(rows, runs, out)
    return rows
