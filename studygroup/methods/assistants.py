"""Chains of assistants: networks of sizes between teacher and student, each trained by those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from studygroup.errors import UserError
from studygroup.methods.method import Method, StageSpec

Teachers = tuple[str, ...]


def assistant_stages(
    method: Method, label: str, assistants: Sequence[str], epochs: int | None, choose: Callable[[Teachers], Teachers]
) -> list[StageSpec]:
    """List a stage for each assistant, then the student's own. An assistant is the student of a shorter chain.

    Args:
        method: of the student; it has an option `assistants`.
        label: what messages call the method.
        assistants: networks, from the one that learns from the teacher to the one that teaches the student.
        epochs: of each assistant; None for as many as the student has.
        choose: picks the next one's teachers from the teacher and all assistants so far.

    Raises:
        UserError: there is no assistant.
    """
    if not assistants:
        raise UserError(
            f"{label} has no assistants; give networks from the largest to the smallest, as in "
            "--method.assistants resnet32,resnet20, or take kd"
        )
    stages: list[StageSpec] = []
    before: Teachers = ("teacher",)
    for number, network in enumerate(assistants):
        shorter = type(method)(**method.options() | {"assistants": tuple(assistants[:number])})
        stages.append(StageSpec(f"assistant{number + 1}", shorter, network, epochs, teachers=choose(before)))
        before = (*before, stages[-1].name)
    return [*stages, StageSpec("train", method, teachers=choose(before))]
