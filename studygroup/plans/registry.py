"""Plans by method: what has to be trained before, for methods of more than one stage."""

from __future__ import annotations

from collections.abc import Callable

from studygroup.methods import AB, DGKD, FSP, FT, TAKD, Method
from studygroup.plans.chain import from_all, from_the_last
from studygroup.plans.initial import after_initial
from studygroup.pipeline.stages import Stage

Plan = Callable[[Stage], list[Stage]]
"""The stage that is asked for -> all stages, that one (perhaps changed) last."""

PLANS: dict[type[Method], Plan] = {
    TAKD: from_the_last,
    DGKD: from_all,
    AB: after_initial,
    FSP: after_initial,
    FT: after_initial,
}


def stages_of(asked: Stage) -> list[Stage]:
    """The stages that lead to the one that is asked for, by its method's plan, or by that of a method that it is made from.

    Raises:
        UserError: the method's options make no plan.
    """
    plan = next((PLANS[kind] for kind in type(asked.method).__mro__ if kind in PLANS), None)
    return [asked] if plan is None else plan(asked)
