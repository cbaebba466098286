"""A first stage that prepares what the second one starts from."""

from __future__ import annotations

from dataclasses import replace

from studygroup.methods import AB, FSP, FT
from studygroup.pipeline.stages import Stage


def after_initial(asked: Stage) -> list[Stage]:
    """The first stage of the method that is asked for, at a constant learning rate, then the method itself.

    Args:
        asked: with its method and its teacher.
    """
    method = asked.method
    assert isinstance(method, AB | FSP | FT)
    rate = method.initial_learning_rate if method.initial_learning_rate is not None else asked.settings.learning_rate
    constant = {"learning_rate": rate, "learning_rate_scales": {}, "schedule": "constant", "milestones": (), "warmup": 0.0}
    settings = replace(asked.settings, epochs=method.initial_epochs, **constant)  # type: ignore[arg-type]
    first = Stage("initial", method.initial(), asked.label, asked.student, settings, teachers=asked.teachers)
    return [first, replace(asked, starts_from=first.name)]
