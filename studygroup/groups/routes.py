"""Routes: which module of each layer a student uses (Feng et al., AAAI 2021, Eq. 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from studygroup import randomness
from studygroup.errors import UserError


def draw_routes(students: int, widths: Sequence[int], *, distinct: bool, generator: torch.Generator) -> Tensor:
    """Module indices (K, L): for each student and layer uniform over the layer's modules.

    Args:
        students: K.
        widths: number of modules of each layer.
        distinct: draw a route again that is there already.
        generator: CPU generator.

    Raises:
        UserError: K distinct routes are asked for and there are fewer.
    """
    possible = math.prod(widths)
    if distinct and students > possible:
        raise UserError(
            f"{students} students need as many distinct routes, but there are only {possible}; "
            "take fewer students, more modules, or distinct=False"
        )
    if distinct and 2 * students > possible:  # few are left to draw: shuffle all of them instead
        order = torch.randperm(possible, generator=generator)[:students]
        columns = []
        for width in reversed(widths):
            columns.append(order % width)
            order = torch.div(order, width, rounding_mode="floor")
        return torch.stack(columns[::-1], dim=1)
    routes: list[tuple[int, ...]] = []
    while len(routes) < students:
        route = tuple(int(torch.randint(width, (1,), generator=generator)) for width in widths)
        if not distinct or route not in routes:
            routes.append(route)
    return torch.tensor(routes, dtype=torch.int64)


def covers(routes: Tensor, widths: Sequence[int]) -> bool:
    """Whether every module of every layer is on one of the routes (K, L)."""
    return all(len(routes[:, number].unique()) == width for number, width in enumerate(widths))


def draw_covering(students: int, width: int, generator: torch.Generator) -> Tensor:
    """One layer's module indices (K, 1): uniform among those that use all of its `width` <= K modules."""
    while True:
        column = torch.randint(width, (students, 1), generator=generator)
        if covers(column, [width]):
            return column


def routes_of(students: int, widths: Sequence[int], *, seed: int, distinct: bool, coverage: bool, per_student: bool) -> Tensor:
    """A group's routes (K, L), the head's module last.

    Args:
        students: K.
        widths: number of modules of each layer, the head's last.
        seed: of the draws.
        distinct: no two students have the same route.
        coverage: every module is on some route.
        per_student: the head has a module for each student.

    Raises:
        UserError: there are no such routes.
    """
    drawn_widths = widths[:-1] if per_student else widths
    if coverage and students < max(drawn_widths):
        raise UserError(
            f"{students} students cannot cover {max(drawn_widths)} modules per layer; "
            "take at least as many students, or require_coverage=False"
        )
    generator = randomness.generator(seed, "routes")
    routes = draw_routes(students, drawn_widths, distinct=distinct, generator=generator)
    by_layer = True
    while coverage and not (covers(routes, drawn_widths) and (not distinct or len(routes.unique(dim=0)) == students)):
        # Two ways to the same distribution, in turn: where one is refused again and again, the other seldom is.
        if by_layer:
            routes = torch.cat([draw_covering(students, width, generator) for width in drawn_widths], dim=1)
        else:
            routes = draw_routes(students, drawn_widths, distinct=distinct, generator=generator)
        by_layer = not by_layer
    return torch.cat([routes, torch.arange(students)[:, None]], dim=1) if per_student else routes
