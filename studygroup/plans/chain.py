"""Chains of assistants: from a large teacher by networks of sizes in between down to the student, each trained by those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from studygroup.errors import UserError
from studygroup.methods import DGKD, TAKD
from studygroup.pipeline.stages import Stage, Teacher

Teachers = tuple[Teacher, ...]


def from_the_last(asked: Stage) -> list[Stage]:
    """Each assistant, and the student, learns from the one before it; the first from the teacher."""
    return chain(asked, lambda before: before[-1:])


def from_all(asked: Stage) -> list[Stage]:
    """Each assistant, and the student, learns from the teacher and all assistants before it."""
    return chain(asked, lambda before: before)


def chain(asked: Stage, choose: Callable[[Teachers], Teachers]) -> list[Stage]:
    """A stage for each assistant, then the one that is asked for. An assistant is the student of a shorter chain.

    Args:
        asked: with its method and the teacher at the chain's beginning.
        choose: from the teacher and the assistants so far, whom the next one learns from.

    Raises:
        UserError: there is no assistant.
    """
    method = asked.method
    assert isinstance(method, TAKD | DGKD)
    if not method.assistants:
        raise UserError(
            f"{asked.label} has no assistants; give networks from the largest to the smallest, as in "
            "--method.assistants resnet32,resnet20, or take kd"
        )
    epochs = method.assistant_epochs or asked.settings.epochs
    settings = replace(asked.settings, epochs=epochs, learning_rate_scales={})
    stages: list[Stage] = []
    before = asked.teachers
    for number, network in enumerate(method.assistants):
        shorter = type(method)(**method.options() | {"assistants": method.assistants[:number]})
        stage = Stage(f"assistant{number + 1}", shorter, asked.label, network, settings, teachers=choose(before))
        stages.append(stage)
        before = (*before, stage.name)
    return [*stages, replace(asked, teachers=choose(before))]
