"""Which stage follows which: a plan is a list of stages, and a stage may learn from what earlier ones left.

Each stage is a run with a folder of its own, `stages/<name>` in the run's, and the last one has the run's. A finished stage is not
trained again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from studygroup.data import evaluation_batches
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.methods.method import Method, StageSpec
from studygroup.networks.factory import NetworkFactory, Spec, build_network, try_out
from studygroup.runs.member import Run
from studygroup.training.fit import DataSplits, fit, load_teacher
from studygroup.training.settings import Settings

Teacher = nn.Module | Run | str
"""A trained network, a finished run whose student teaches, the name of the earlier stage that is one, or `package.module:function` of a
trained network."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A step of a plan.

    Attributes:
        name: of the stage, and of its folder.
        method: not assembled yet.
        label: what its result calls the method.
        student: what its students are made from.
        settings: how it is trained.
        peers: networks of the other students.
        teachers: whom the method learns from.
        starts_from: the earlier stage whose members, and what it kept beside them, this one goes on with; None to start afresh.
    """

    name: str
    method: Method
    label: str
    student: Spec
    settings: Settings
    peers: tuple[Spec, ...] = ()
    teachers: tuple[Teacher, ...] = ()
    starts_from: str | None = None


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
        settings = replace(requested.settings, epochs=spec.epochs or requested.settings.epochs, learning_rate_scales={})
        if spec.constant_learning_rate:
            rate = requested.settings.learning_rate if spec.learning_rate is None else spec.learning_rate
            settings = replace(settings, learning_rate=rate, schedule="constant", milestones=(), warmup=0.0)
        network = requested.student if spec.network is None else spec.network
        teachers = _teachers(spec, requested)
        stages.append(Stage(spec.name, spec.method, requested.label, network, settings, teachers=teachers, starts_from=spec.starts_from))
    return stages


def _teachers(spec: StageSpec, requested: Stage) -> tuple[Teacher, ...]:
    """Put the run's teachers in the place of the name `teacher`."""
    return tuple(found for name in spec.teachers for found in (requested.teachers if name == "teacher" else (name,)))


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
        folder: of the run.
        splits: what all stages learn from.
        resume: go on where a run of the same plan stopped.
        resume_hint: the command that goes on with the run.
        ranks: the processes that train together.
    """
    done: dict[str, Run] = {}
    for stage in stages:
        own = folder if stage is stages[-1] else folder / "stages" / stage.name
        done[stage.name] = fit(
            own,
            stage.method,
            network_factory(stage, splits, done),
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
    """Try out all networks and assemble all stages, so that what cannot work is said before anything is trained or written.

    Args:
        stages: in order.
        splits: what they are to learn from.

    Returns:
        By stage, its student without training: what may stand in for it where weights do not matter.

    Raises:
        UserError: a network cannot work with the data, or a method not with the networks.
    """
    dataset = splits.dataset
    vocabulary = dataset.inputs.spec().vocabulary
    inputs, _ = next(evaluation_batches(splits.train, dataset.inputs.transform(), 2))
    fresh: dict[str, nn.Module] = {}
    tried: list[Spec] = []
    for stage in stages:
        networks = [teacher for teacher in stage.teachers if not isinstance(teacher, Run) and teacher not in fresh]
        for spec in (stage.student, *stage.peers, *networks):
            if spec not in tried:
                try_out(spec, inputs, num_classes=len(dataset.classes), vocabulary=vocabulary)
                tried.append(spec)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again when the stage begins
            factory = network_factory(stage, splits, fresh)
            type(stage.method)(**stage.method.options()).build(factory)
        fresh[stage.name] = factory.student(0)
    return fresh


def network_factory(stage: Stage, splits: DataSplits, earlier: Mapping[str, Run | nn.Module]) -> NetworkFactory:
    """What makes a stage's networks.

    Args:
        stage: of a plan.
        splits: what it learns from.
        earlier: what the stages before it have left.
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
        else:
            teachers.append(
                build_network(found, num_classes=len(dataset.classes), in_channels=spec.in_channels, vocabulary=spec.vocabulary)
                if isinstance(found, str)
                else found
            )
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
    )
