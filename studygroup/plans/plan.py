"""Which stage follows which: a plan is a list of stages, and a stage may learn from what an earlier one left.

Each stage has a run folder of its own, `stages/<name>` in the run's, and the last one has the run's. A finished stage is not
trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from studygroup.methods.method import Method
from studygroup.networks.maker import Maker, Spec
from studygroup.ranks import ALONE, Ranks
from studygroup.training.run import Run
from studygroup.training.settings import Settings
from studygroup.training.stage import Material, fit, load_teacher


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
        teacher: a trained network, a finished run whose student teaches, or the name of the earlier stage that is one.
    """

    name: str
    method: Method
    label: str
    student: Spec
    settings: Settings
    peers: tuple[Spec, ...] = ()
    teacher: nn.Module | Run | str | None = None


def run_plan(
    stages: Sequence[Stage],
    folder: Path,
    material: Material,
    *,
    resume: bool = False,
    resume_hint: str = "--resume",
    ranks: Ranks = ALONE,
) -> Run:
    """Run the stages in order and return the last one's run.

    Args:
        stages: at least one.
        folder: of the run.
        material: what all stages learn from.
        resume: go on where a run of the same plan stopped.
        resume_hint: the command that goes on with the run.
        ranks: the processes that train together.
    """
    done: dict[str, Run] = {}
    for stage in stages:
        own = folder if stage is stages[-1] else folder / "stages" / stage.name
        teacher = done[stage.teacher] if isinstance(stage.teacher, str) else stage.teacher
        done[stage.name] = fit(
            own,
            stage.method,
            maker(stage, material, teacher),
            material,
            stage.settings,
            label=stage.label,
            resume=resume,
            title=stage.name,
            resume_hint=resume_hint,
            ranks=ranks,
        )
    return done[stages[-1].name]


def maker(stage: Stage, material: Material, teacher: nn.Module | Run | None) -> Maker:
    """What makes a stage's networks."""
    dataset = material.dataset
    spec: Spec | None = None
    if isinstance(teacher, Run):
        member = load_teacher(teacher, dataset)
        teacher, spec = member.network, member.card["network"]
    return Maker(
        stage.student,
        num_classes=len(dataset.classes),
        in_channels=dataset.shape[0],
        image_size=dataset.shape[1:],
        seed=stage.settings.seed,
        peers=stage.peers,
        teacher=teacher,
        teacher_spec=spec,
        labels=torch.tensor(material.train.labels, dtype=torch.int64),
    )
