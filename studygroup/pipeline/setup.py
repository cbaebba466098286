"""From the options of a run to its method, settings, data and stages."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from studygroup import config
from studygroup.data import Dataset, Images, asks_for_flips, decide_flips, open_data, open_unlabelled, parse_augment, reads_texts
from studygroup.errors import UserError, unknown_name
from studygroup.foreign import code_in, import_code, is_import_path
from studygroup.methods import METHODS, Method, create_method, method_name, method_options
from studygroup.networks import NETWORKS, tokenizer_of
from studygroup.networks.factory import NO_START, Spec, is_untrained, numbered, resolve_spec, spec_name
from studygroup.networks.registry import SMALLEST_MAP
from studygroup.networks.starts import Start
from studygroup.networks.weights import Weights
from studygroup.options import DataOptions, NetworkOptions, Options, Precision, RunOptions, Stem, UnlabelledOptions
from studygroup.pipeline.choose import with_assistants, with_teacher
from studygroup.pipeline.presets import with_preset
from studygroup.pipeline.stages import Stage, Teacher, resolve_stages
from studygroup.pipeline.weights import TEACHER, Pretrained, absolute_sources, open_all
from studygroup.runs.member import Run
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.updater import check_batches

logger = logging.getLogger(__name__)


def run_options(options: Options, counts: dict[str, int] | None = None) -> RunOptions:
    """Pick the options of a run, and fill in the student, the optimizer and what the preset chooses for the data.

    Args:
        options: of a run.
        counts: numbers of training samples by data options that are known already; others are added.
    """
    run = RunOptions.of(options)
    texts = reads_texts(run.data)
    optimizer = run.optimizer if run.optimizer != "auto" else "adam" if texts else "sgd"
    student = run.student if run.student is not None else "transformer" if texts else "resnet8"
    settings = Settings.of(run, optimizer=optimizer)
    run = replace(run, student=student, optimizer=optimizer, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
    run = with_teacher(replace(run, weights=absolute_sources(run)))
    return with_preset(run, texts=texts, count=partial(count_samples, run, {} if counts is None else counts))


def count_samples(options: RunOptions, counts: dict[str, int]) -> int:
    """Return the number of training samples, which are prepared for that; arguments as of `run_options`."""
    key = repr((DataOptions.of(options).plain(), options.student))
    if key not in counts:
        labelled = replace(options, unlabelled=None, unlabelled_share=UnlabelledOptions.unlabelled_share)
        counts[key] = len(open_splits(labelled).train)
    return counts[key]


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
    return create_method(method, with_files(method, with_assistants(options, method, own)))


def with_files(method: str, options: Mapping[str, object]) -> dict[str, object]:
    """Replace paths by what the files hold, for options that are lists of lists, such as routes.

    Raises:
        UserError: a file cannot be read, or holds no such lists.
    """
    found = dict(options)
    for name, parameter in method_options(method).items():
        path, kind = found.get(name), parameter.kind
        if isinstance(path, str) and kind.base == "list" and kind.item is not None and kind.item.base == "list":
            try:
                found[name] = kind.check(config.read_list(path))
            except ValueError as error:
                raise error if isinstance(error, UserError) else UserError(f"{method}'s {name} in {path} is {error}") from None
    return found


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
    more = options.unlabelled
    unlabelled = None if more is None else open_unlabelled(more, DataOptions.of(options), dataset, options.unlabelled_share)
    return DataSplits(dataset, dataset.train, dataset.holdout, augment, flips, unlabelled)


def plan_stages(options: RunOptions, method: Method, settings: Settings) -> list[Stage]:
    """List the training stages before any data is read.

    Raises:
        UserError: an unknown network, or a teacher or options that cannot be combined.
    """
    check_batches(method, settings)
    check_unlabelled(options, method)
    if settings.hand_over == "auto":
        settings = replace(settings, hand_over=method.hands_over)
    found = find_teachers(options, method)
    networks = [teacher for teacher in found if isinstance(teacher, str) and is_untrained(teacher)]
    given = open_all(options, method, teachers=len(networks))
    weights = given.pop(TEACHER, None)
    if options.teacher_epochs is not None and not networks:
        reason = "there is no teacher" if not found else "the teacher is trained already"
        raise UserError(f"teacher_epochs is {options.teacher_epochs}, but {reason}; leave it out, or give --teacher NETWORK")
    if options.teacher_epochs == 0 and weights is None:
        raise UserError("teacher_epochs is 0, but the teacher has no weights; give --weights teacher=SOURCE, or epochs")
    stages: list[Stage] = []
    teachers: list[Teacher] = []
    for number, teacher in enumerate(found, start=1):
        if not (isinstance(teacher, str) and is_untrained(teacher)):
            teachers.append(teacher)
        elif weights is not None and options.teacher_epochs == 0:
            teachers.append(Pretrained(teacher, weights))
        else:
            stages.append(teacher_stage(numbered(TEACHER, number), teacher, settings, options.teacher_epochs, weights))
            teachers.append(stages[-1].name)
    start = Start(given, options.members_start, options.freeze)
    last = Stage("train", method, method_name(method), student_of(options), settings, tuple(options.peers), tuple(teachers), start=start)
    stages += resolve_stages(last)
    if settings.hand_over == "distilled":
        stages = with_distillation(stages, options.hand_over_epochs or settings.epochs)
    return with_stems(stages, options.stem)


def check_unlabelled(options: RunOptions, method: Method) -> None:
    """Raise UserError if there are samples without labels, and the method learns nothing from them."""
    if options.unlabelled is None:
        return
    if not method.takes_unlabelled:
        takers = ", ".join(other for other in METHODS if METHODS[other].takes_unlabelled)
        raise UserError(
            f"{method_name(method)} learns nothing from samples without labels; leave --unlabelled out, or take one of {takers}"
        )
    if reason := method.needs_all_labels():
        raise UserError(f"{reason}, and there are samples without one; leave --unlabelled out, or take another logit_loss")


def teacher_stage(name: str, network: str, settings: Settings, epochs: int | None, weights: Weights | None) -> Stage:
    """Return the stage that trains a teacher on the labels.

    Args:
        name: of the stage.
        network: of the teacher.
        settings: of the run.
        epochs: None for as many as the run has.
        weights: that the teacher starts from; None for a fresh initialisation.
    """
    start = NO_START if weights is None else Start({"student0": weights})
    own = settings.stretched(epochs or settings.epochs).handing_over("selected")
    rate_scale = 1.0 if weights is None else settings.trained_rate_scale
    own = replace(own, microbatches=1, learning_rate_scales=None, trained_rate_scale=rate_scale)
    return Stage(name, create_method("baseline"), "baseline", network, own, start=start)


def with_distillation(stages: Sequence[Stage], epochs: int) -> list[Stage]:
    """Return the stages with one more, in which a new student learns from the ensemble of the last one's students by `kd`.

    Args:
        stages: of a run; the last trains a group.
        epochs: of the student.
    """
    group = replace(stages[-1], name="group", settings=stages[-1].settings.handing_over("ensemble"))
    settings = replace(stages[-1].settings.stretched(epochs).handing_over("selected"), learning_rate_scales=None)
    first = {role: weights for role, weights in group.start.weights.items() if role == "student0"}
    start = replace(group.start, weights=first)
    student = Stage("train", create_method("kd"), group.label, group.student, settings, teachers=(group.name,), start=start)
    return [*stages[:-1], group, student]


def with_stems(stages: Sequence[Stage], stem: Stem, dataset: Dataset | None = None) -> list[Stage]:
    """Return the stages with networks whose stems suit the images.

    Raises:
        UserError: a network is unknown, or does not have the requested stem.
    """
    size = min(dataset.inputs.shape[1:]) if dataset is not None and isinstance(dataset.inputs, Images) else SMALLEST_MAP

    def with_stem(teacher: Teacher) -> Teacher:
        return replace(teacher, network=resolve_spec(teacher.network, stem, size)) if isinstance(teacher, Pretrained) else teacher

    return [
        replace(
            stage,
            student=resolve_spec(stage.student, stem, size),
            peers=tuple(resolve_spec(peer, stem, size) for peer in stage.peers),
            teachers=tuple(map(with_stem, stage.teachers)),
        )
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


def find_teachers(options: NetworkOptions, method: Method) -> list[nn.Module | Run | str]:
    """Return the teachers: trained networks or their import paths, finished runs, or the names of networks that are trained first.

    Raises:
        UserError: the method needs a teacher and has none, or has more than it takes, or one is neither of these.
    """
    given, name = options.teachers, method_name(method)
    if not given and method.needs_teacher:
        raise UserError(
            f"{name} needs a teacher; give --teacher RUN (a trained run folder), --teacher NETWORK (trained first) or --teacher auto"
        )
    if given and not method.needs_teacher:
        takers = " or ".join(other for other in METHODS if METHODS[other].needs_teacher)
        raise UserError(f"{name} takes no teacher; leave --teacher out, or take {takers}")
    if len(given) > 1 and not method.several_teachers:
        takers = " or ".join(other for other in METHODS if METHODS[other].several_teachers)
        raise UserError(f"{name} learns from one {method.teacher_name}, and {len(given)} are given; give one, or take {takers}")
    return [find_teacher(teacher, options.allow_code) for teacher in given]


def find_teacher(teacher: nn.Module | str | Path, allow_code: Sequence[str]) -> nn.Module | Run | str:
    """Return one teacher.

    Args:
        teacher: as given.
        allow_code: import paths of networks that a run's files may name.

    Raises:
        UserError: it is no teacher.
    """
    if isinstance(teacher, nn.Module):
        return teacher
    if Path(teacher).is_dir():
        return Run(teacher, allow_code)
    text = str(teacher)
    if text.partition("@")[0] in NETWORKS or ":" in text:
        return text
    raise UserError(f"the teacher {text!r} is neither a run folder nor a network: {unknown_name('network', text, NETWORKS)}")


def import_given_code(options: RunOptions, folder: Path | None) -> None:
    """Import the foreign code that the options name, so that what is wrong with it is found before data is read.

    Raises:
        UserError: it cannot be imported, or lies in the run folder.
    """
    for path in code_in(vars(options)):
        import_code(path, "method" if path == options.method else "network", outside=folder)


def given_code(options: RunOptions) -> list[str]:
    """Return the import paths that the caller allows, and those of the networks that the caller gives: cards may name them."""
    specs = (options.student, *options.teachers, *options.peers)
    names = [spec_name(spec) for spec in specs if spec is not None and not isinstance(spec, Path)]
    return list(dict.fromkeys([*options.allow_code, *filter(is_import_path, names)]))


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
