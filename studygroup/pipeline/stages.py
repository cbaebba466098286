"""The stages of a run, in order; a stage may use earlier ones as teachers, or start from their weights.

Each stage has a run folder of its own, `stages/<name>` in that of the run, which belongs to the last stage. A finished stage is not
trained again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from studygroup.data import Dataset, Tokens, evaluation_batches
from studygroup.data.texts.tokenizers import tokenizer_mismatch
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError
from studygroup.methods.method import Method, StageSpec
from studygroup.networks.factory import NO_START, NetworkFactory, Spec, build_network, check_network
from studygroup.networks.registry import HUGGING_FACE
from studygroup.networks.starts import Start, is_trained
from studygroup.networks.weights import Weights
from studygroup.pipeline.weights import Pretrained
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Run
from studygroup.training.fit import fit, holdout_accuracy, load_teacher
from studygroup.training.hand_over import check_hand_over
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits

Teacher = nn.Module | Run | Pretrained | str
"""A trained network, a finished run, a network with weights, the name of an earlier stage, or `package.module:function` that returns a
trained network."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A training stage with everything that it needs but data.

    Attributes:
        name: of the stage and its folder.
        method: not built yet.
        label: name of the method in results.
        student: the student's network.
        settings: of the training.
        peers: networks of the other students.
        teachers: of the method.
        starts_from: the earlier stage whose weights this one starts from; None to start as `start` says.
        start: what the students start from.
    """

    name: str
    method: Method
    label: str
    student: Spec
    settings: Settings
    peers: tuple[Spec, ...] = ()
    teachers: tuple[Teacher, ...] = ()
    starts_from: str | None = None
    start: Start = NO_START


def resolve_stages(requested: Stage) -> list[Stage]:
    """List the stages of a method, by its own `Method.stages`, with the settings that each is trained with.

    Args:
        requested: the method's last stage, as the run's options describe it.

    Raises:
        UserError: the method's options do not say what to train.
    """
    stages = []
    for spec in requested.method.stages():
        if spec.method is requested.method:
            stages.append(replace(requested, teachers=_teachers(spec, requested), starts_from=spec.starts_from))
            continue
        settings = requested.settings.stretched(spec.epochs or requested.settings.epochs).handing_over("selected")
        settings = replace(settings, learning_rate_scales=None)
        if spec.epochs is not None:  # of a fixed length, and perhaps not trained on labels, so that its accuracy says nothing
            settings = replace(settings, patience=None)
        if spec.constant_learning_rate:
            rate = requested.settings.learning_rate if spec.learning_rate is None else spec.learning_rate
            settings = settings.with_constant_rate(rate)
        network = requested.student if spec.network is None else spec.network
        teachers = _teachers(spec, requested)
        start = requested.start
        if spec.network is not None:  # an assistant
            start, settings = NO_START, replace(settings, trained_rate_scale=1.0)
        own = Stage(spec.name, spec.method, requested.label, network, settings, teachers=teachers, start=start)
        stages.append(replace(own, starts_from=spec.starts_from))
    return stages


def _teachers(spec: StageSpec, requested: Stage) -> tuple[Teacher, ...]:
    """Put the run's teachers in the place of the name `teacher`."""
    return tuple(found for name in spec.teachers for found in (requested.teachers if name == "teacher" else (name,)))


def weights_of(stages: Sequence[Stage]) -> dict[str, Weights]:
    """Return all weights that are given to the stages, by stage and member."""
    found = {f"{stage.name}/{role}": weights for stage in stages for role, weights in stage.start.weights.items()}
    frozen = [teacher for stage in stages for teacher in stage.teachers if isinstance(teacher, Pretrained)]
    return found | {f"teacher/{teacher.weights.source}": teacher.weights for teacher in frozen}


def run_stages(
    stages: Sequence[Stage],
    folder: Path,
    splits: DataSplits,
    *,
    resume: bool = False,
    resume_hint: str = "--resume",
    ranks: DistContext = SINGLE_PROCESS,
) -> Run:
    """Run the stages in order and return the last one's run.

    Args:
        stages: at least one.
        folder: run folder.
        splits: the data of all stages.
        resume: continue where a run of the same stages stopped.
        resume_hint: command that continues the run.
        ranks: the processes that train together.
    """
    done: dict[str, Run] = {}
    for stage in stages:
        own = folder if stage is stages[-1] else RunFiles(folder).stage(stage.name)
        done[stage.name] = fit(
            own,
            stage.method,
            network_factory(stage, splits, done, ranks),
            splits,
            stage.settings,
            label=stage.label,
            start=done[stage.starts_from] if stage.starts_from is not None else None,
            resume=resume,
            title=stage.name,
            resume_hint=resume_hint,
            ranks=ranks,
        )
    return done[stages[-1].name]


def dry_run(stages: Sequence[Stage], splits: DataSplits) -> dict[str, nn.Module]:
    """Run every network once and build every stage, so that errors appear before anything is trained or written.

    Args:
        stages: in order.
        splits: the data.

    Returns:
        The untrained student of each stage by name, for uses where weights do not matter.

    Raises:
        UserError: a network cannot work with the data, or a method not with the networks.
    """
    dataset = splits.dataset
    vocabulary = dataset.inputs.spec().vocabulary
    inputs, _ = next(evaluation_batches(splits.train, dataset.inputs.transform(), 2))
    fresh: dict[str, nn.Module] = {}
    tried: list[tuple[Spec, bool]] = []
    for stage in stages:
        splits.check(stage.settings)
        teachers = [teacher for teacher in stage.teachers if not isinstance(teacher, Run | Pretrained) and teacher not in fresh]
        networks: list[tuple[Spec, bool]] = [(spec, False) for spec in (stage.student, *stage.peers)]
        for spec, is_teacher in networks + [(teacher, True) for teacher in teachers]:
            if (spec, is_teacher) not in tried:
                classes = dataset.classes
                if is_teacher:
                    _check_tokenizer(spec, dataset)
                check_network(spec, inputs, num_classes=len(classes), vocabulary=vocabulary, classes=classes, is_teacher=is_teacher)
                tried.append((spec, is_teacher))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are repeated when the stage begins
            factory = network_factory(stage, splits, fresh)
            method = type(stage.method)(**stage.method.options())
            method.build(factory)
        check_hand_over(method, stage.settings, holdout=len(splits.holdout))
        factory.check_start(method.student_names())
        if stage.settings.trained_rate_scale != 1 and not any(map(is_trained, method.parameters())):
            raise UserError(
                f"trained_rate_scale is {stage.settings.trained_rate_scale:g}, but no network starts from trained weights; "
                "give --weights, or leave it out"
            )
        fresh[stage.name] = factory.student(0)
    return fresh


def network_factory(
    stage: Stage, splits: DataSplits, earlier: Mapping[str, Run | nn.Module], ranks: DistContext | None = None
) -> NetworkFactory:
    """Return the factory of a stage's networks.

    Args:
        stage: of a run.
        splits: the data.
        earlier: runs, or untrained networks, of the stages before it.
        ranks: the processes that train together; None where weights do not matter, so that teachers are not measured.
    """
    dataset = splits.dataset
    spec = dataset.inputs.spec()
    teachers: list[nn.Module] = []
    specs: list[Spec] = []
    for teacher in stage.teachers:
        found = earlier.get(teacher, teacher) if isinstance(teacher, str) else teacher
        if isinstance(found, Run):
            member = load_teacher(found, dataset)
            teachers.append(member.network)
            specs.append(member.card["network"])
        elif isinstance(found, Pretrained):
            teachers.append(found.build(dataset))
            specs.append(found.network)
        else:
            teachers.append(_build_teacher(found, dataset) if isinstance(found, str) else found)
            specs.append(found)
    return NetworkFactory(
        stage.student,
        num_classes=len(dataset.classes),
        in_channels=spec.in_channels,
        image_size=spec.image_size,
        vocabulary=spec.vocabulary,
        seed=stage.settings.seed,
        peers=stage.peers,
        teacher=teachers[0] if teachers else None,
        teacher_spec=specs[0] if specs else None,
        more_teachers=teachers[1:],
        labels=torch.tensor(splits.train.labels, dtype=torch.int64),
        unlabelled=0 if splits.unlabelled is None else len(splits.unlabelled.split),
        holdout_accuracy=partial(holdout_accuracy, splits=splits, settings=stage.settings, ranks=ranks),
        classes=dataset.classes,
        dropout=stage.settings.dropout,
        start=stage.start,
    )


def _build_teacher(name: str, dataset: Dataset) -> nn.Module:
    """Make a trained network from its name."""
    spec, classes = dataset.inputs.spec(), dataset.classes
    return build_network(
        name, num_classes=len(classes), in_channels=spec.in_channels, vocabulary=spec.vocabulary, classes=classes, is_teacher=True
    )


def _check_tokenizer(teacher: Spec, dataset: Dataset) -> None:
    """Check that a teacher `hf:FOLDER` reads the data's tokens.

    Raises:
        UserError: it has another tokenizer.
    """
    if isinstance(teacher, str) and teacher.startswith(HUGGING_FACE) and isinstance(dataset.inputs, Tokens):
        mismatch = tokenizer_mismatch(teacher.removeprefix(HUGGING_FACE), dataset.inputs.tokenizer)
        if mismatch is not None:
            raise UserError(f"the teacher {teacher} {mismatch}; give --tokenizer {teacher}, or a teacher with the student's tokenizer")
