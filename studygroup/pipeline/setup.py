"""From the options of a run to its method, settings, data and stages."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from studygroup.data import Dataset, Images, asks_for_flips, decide_flips, open_data, parse_augment, reads_texts
from studygroup.errors import UserError, unknown_name
from studygroup.methods import METHODS, Method, create_method, method_name, method_options
from studygroup.networks import NETWORKS, tokenizer_of
from studygroup.networks.factory import Spec, is_untrained, resolve_spec, spec_name
from studygroup.networks.registry import SMALLEST_MAP
from studygroup.options import DataOptions, NetworkOptions, Options, Precision, RunOptions, Stem
from studygroup.pipeline.stages import Stage, Teacher, resolve_stages
from studygroup.pipeline.weights import open_weights
from studygroup.runs.member import Run
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.updater import check_batches

TEXTS, FEWEST_EPOCHS, MOST_EPOCHS = 100_000, 5, 50
"""Number of texts that a network for texts is trained on by default, each once per epoch, and the limits of the epochs."""

logger = logging.getLogger(__name__)


def run_options(options: Options, counts: dict[str, int] | None = None) -> RunOptions:
    """Pick the options of a run, and fill in the student, the optimizer and the epochs that suit the data.

    Args:
        options: of a run.
        counts: numbers of training texts by data options that are known already; others are added.
    """
    run = RunOptions.of(options)
    texts = reads_texts(run.data)
    optimizer = run.optimizer if run.optimizer != "auto" else "adam" if texts else "sgd"
    student = run.student if run.student is not None else "transformer" if texts else "resnet8"
    settings = Settings.of(run, optimizer=optimizer)
    run = replace(run, student=student, optimizer=optimizer, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
    return replace(run, epochs=run.epochs or (epochs_of_texts(run, {} if counts is None else counts) if texts else settings.epochs))


def epochs_of_texts(options: RunOptions, counts: dict[str, int]) -> int:
    """Return the number of epochs that suits the number of training texts, which are prepared for that; arguments as of `run_options`."""
    key = repr((DataOptions.of(options).plain(), options.student))
    if key not in counts:
        counts[key] = len(open_splits(options).train)
        logger.info("%d epochs, for %d training texts (--epochs)", text_epochs(counts[key]), counts[key])
    return text_epochs(counts[key])


def text_epochs(texts: int) -> int:
    """Return the default number of epochs for a number of training texts; LOG.md has the study behind it."""
    return min(max(round(TEXTS / texts), FEWEST_EPOCHS), MOST_EPOCHS)


def method_of(options: RunOptions) -> Method:
    """Return the method, by name and options or as the given object; peers determine the number of students.

    Raises:
        UserError: an unknown method or option, or options that contradict each other.
    """
    method, own, peers = options.method, dict(options.method_options or {}), options.peers
    if not isinstance(method, str | Method):
        raise UserError(f"method is a {type(method).__name__}; give the name of a method, or an object such as studygroup.CGL()")
    if isinstance(method, Method):
        if own:
            raise UserError(f"method_options {', '.join(own)} are given beside a method object; give them to its constructor")
        return method
    if peers and "students" in method_options(method):
        own.setdefault("students", len(peers) + 1)
        if own["students"] != len(peers) + 1:
            raise UserError(
                f"students is {own['students']}, but {len(peers)} peers make {len(peers) + 1} with the student; leave one of the two out"
            )
    elif peers:
        raise UserError(f"{method} trains one student; it takes no peers")
    return create_method(method, own)


def settings_of(options: RunOptions) -> Settings:
    """Return the trainer's settings, with everything automatic resolved for this machine.

    Raises:
        UserError: the warm-up is longer than the run, or there is no such device.
    """
    settings = Settings.of(options)
    if settings.warmup > settings.epochs:
        raise UserError(f"warmup is {settings.warmup:g} epochs, but the run has {settings.epochs}; give less, or more --epochs")
    device = settings.torch_device()
    precision: Precision = "bf16" if settings.autocast(device) is not None else "float32"
    return replace(settings, precision=precision, channels_last=settings.memory_format(device) == torch.channels_last)


def open_splits(options: RunOptions) -> DataSplits:
    """Prepare the data and split it.

    Raises:
        UserError: the data cannot be used, or the augmentation is unknown or cannot be of it.
    """
    parse_augment(options.augment)  # before the data is prepared, which may take long
    tokenizer = options.tokenizer if options.tokenizer != "auto" else tokenizer_of(options.student)
    dataset = open_data(DataOptions.of(options), tokenizer=tokenizer)
    tested = isinstance(dataset.inputs, Images) and asks_for_flips(options.augment)
    flips = decide_flips(dataset, options.cache) if tested else None
    augment = dataset.inputs.resolve_augment(options.augment, flips=flips is not None and flips.allowed)
    return DataSplits(dataset, dataset.train, dataset.holdout, augment, flips)


def plan_stages(options: RunOptions, method: Method, settings: Settings) -> list[Stage]:
    """List the training stages before any data is read.

    Raises:
        UserError: an unknown network, or a teacher or options that cannot be combined.
    """
    check_batches(method, settings)
    teacher = find_teacher(options, method)
    student = student_of(options)
    weights = open_weights(options.weights)
    stages = []
    if isinstance(teacher, str) and is_untrained(teacher):
        epochs = options.teacher_epochs or settings.epochs
        own = replace(settings, epochs=epochs, microbatches=1, learning_rate_scales=None)
        stages.append(Stage("teacher", create_method("baseline"), "baseline", teacher, own))
        teacher = "teacher"
    teachers: tuple[Teacher, ...] = () if teacher is None else (teacher,)
    stages += resolve_stages(
        Stage("train", method, method_name(method), student, settings, tuple(options.peers), teachers, weights=weights)
    )
    return with_stems(stages, options.stem)


def with_stems(stages: Sequence[Stage], stem: Stem, dataset: Dataset | None = None) -> list[Stage]:
    """Return the stages with networks whose stems suit the images.

    Raises:
        UserError: a network is unknown, or does not have the requested stem.
    """
    size = min(dataset.inputs.shape[1:]) if dataset is not None and isinstance(dataset.inputs, Images) else SMALLEST_MAP
    return [
        replace(stage, student=resolve_spec(stage.student, stem, size), peers=tuple(resolve_spec(peer, stem, size) for peer in stage.peers))
        for stage in stages
    ]


def student_of(options: NetworkOptions) -> Spec:
    """Return the student's network, which `run_options` has filled in."""
    assert options.student is not None
    return options.student


def epochs_of(options: RunOptions) -> int:
    """Return the number of epochs, which `run_options` has filled in."""
    assert options.epochs is not None
    return options.epochs


def find_teacher(options: NetworkOptions, method: Method) -> nn.Module | Run | str | None:
    """Return the teacher: a trained network or its import path, a finished run, or the name of a network that is trained first.

    Raises:
        UserError: the method needs a teacher and has none, or has one and takes none, or it is neither of these.
    """
    teacher, name = options.teacher, method_name(method)
    if teacher is None:
        if method.needs_teacher:
            raise UserError(f"{name} needs a teacher; give --teacher RUN (a trained run folder) or --teacher NETWORK (trained first)")
        return None
    if not method.needs_teacher:
        takers = " or ".join(other for other in METHODS if METHODS[other].needs_teacher)
        raise UserError(f"{name} takes no teacher; leave --teacher out, or take {takers}")
    if isinstance(teacher, nn.Module):
        return teacher
    if Path(teacher).is_dir():
        return Run(teacher)
    text = str(teacher)
    if text.partition("@")[0] in NETWORKS or ":" in text:
        return text
    raise UserError(f"the teacher {text!r} is neither a run folder nor a network: {unknown_name('network', text, NETWORKS)}")


def default_folder(dataset: Dataset, method: Method, options: RunOptions) -> str:
    """Return `runs/DATA-METHOD-STUDENT-sSEED`."""
    name = re.split(r"[:.]", method_name(method))[-1]
    return f"runs/{dataset.name}-{name}-{short_name(student_of(options))}-s{options.seed}"


def short_name(student: Spec) -> str:
    """Return a network's name for folders: without the module or the folder that it is in."""
    return re.split(r"[:/\\]", spec_name(student).rstrip("/"))[-1]


def uses_gpu(device: str) -> bool:
    """Return whether each rank of a run gets a GPU of its own."""
    return device in ("auto", "cuda") and torch.cuda.is_available()
