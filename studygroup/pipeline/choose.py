"""Networks that a method needs beside the student's, where the caller leaves the choice open."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from studygroup.errors import UserError
from studygroup.methods import method_options
from studygroup.networks.factory import spec_name
from studygroup.networks.sizes import larger_network as larger_network
from studygroup.networks.sizes import networks_between
from studygroup.options import RunOptions
from studygroup.runs.member import Run

AUTO = "auto"

logger = logging.getLogger(__name__)


def with_teacher(options: RunOptions) -> RunOptions:
    """Return the options with the name of a network in the place of the teacher `auto`.

    It is the next larger network of the student's family; for a method with assistants, one that leaves sizes between for them.

    Raises:
        UserError: there is no larger network, or one teacher is given twice.
    """
    if AUTO in options.teachers:
        chosen = _larger_network(options)
        options = replace(options, teacher=tuple(chosen if given == AUTO else given for given in options.teachers))
    teachers = options.teachers
    twice = next((given for number, given in enumerate(teachers) if given in teachers[:number]), None)
    if twice is not None:
        raise UserError(f"the teacher {spec_name(twice) if isinstance(twice, nn.Module) else twice} is given twice; give each teacher once")
    return options


def _larger_network(options: RunOptions) -> str:
    teacher = None
    larger = larger_network(options.student)
    for _ in range(1 + _assistants(options)):
        teacher, larger = larger or teacher, larger_network(larger)
    if teacher is None:
        raise UserError(
            f"teacher is auto, but there is no larger network of the family of {options.student}; name one of `studygroup list networks`"
        )
    return teacher


def with_assistants(options: RunOptions, method: str, own: Mapping[str, object]) -> dict[str, object]:
    """Return a method's options with networks between the first teacher and the student as assistants, if it takes some, none are given.

    Args:
        options: of the run.
        method: name of the method.
        own: its options.
    """
    if _assistants(options) == 0 or own.get("assistants") or not options.teachers:
        return dict(own)
    teacher: object = options.teachers[0]
    if isinstance(teacher, str | Path) and Path(teacher).is_dir():
        teacher = Run(teacher, options.allow_code).best.card.get("network")
    found = networks_between(options.student, teacher)
    if not found:
        return dict(own)
    logger.info("%s: assistants between %s and %s: %s", method, teacher, options.student, ", ".join(found))
    return {**own, "assistants": found}


def _assistants(options: RunOptions) -> int:
    """Return how many assistants the method has, at least 1 if it takes some."""
    if not isinstance(options.method, str) or options.method == AUTO or "assistants" not in method_options(options.method):
        return 0
    given = (options.method_options or {}).get("assistants")
    return len(given) if isinstance(given, list | tuple) and given else 1
