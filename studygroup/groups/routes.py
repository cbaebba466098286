"""Routes: which module of each layer a student uses (Feng et al., AAAI 2021, Eq. 1)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from studygroup import randomness
from studygroup.errors import UserError


def draw_routes(students: int, widths: Sequence[int], *, distinct: bool, generator: torch.Generator) -> Tensor:
    """Draw module indices (K, L), uniform over the modules of each layer.

    Args:
        students: K.
        widths: number of modules of each layer.
        distinct: draw a route again if it was drawn before.
        generator: CPU generator.

    Raises:
        UserError: there are fewer than K distinct routes.
    """
    possible = math.prod(widths)
    if distinct and students > possible:
        raise UserError(
            f"{students} students need as many distinct routes, but there are only {possible}; "
            "use fewer students, more modules, or distinct=False"
        )
    if distinct and 2 * students > possible:  # most of them are needed: shuffle all instead of drawing again and again
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


def at_most_routes(students: int, widths: Sequence[int]) -> int:
    """Return the number of students, or the number of distinct routes if there are fewer; a warning says so.

    Args:
        students: K.
        widths: number of modules of each routed layer.
    """
    possible = math.prod(widths)
    if students > possible:
        warnings.warn(
            f"the network has {possible} distinct routes, so {possible} students are trained, not {students}; for more students take more "
            "modules, a deeper network, or distinct=False",
            stacklevel=2,
        )
    return min(students, possible)


def covers(routes: Tensor, widths: Sequence[int]) -> bool:
    """Return whether the routes (K, L) use every module of every layer."""
    return all(len(routes[:, number].unique()) == width for number, width in enumerate(widths))


def draw_covering(students: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw one layer's module indices (K, 1), uniform among those that use all of its `width` <= K modules."""
    while True:
        column = torch.randint(width, (students, 1), generator=generator)
        if covers(column, [width]):
            return column


def group_routes(students: int, widths: Sequence[int], *, seed: int, distinct: bool, coverage: bool, per_student: bool) -> Tensor:
    """Draw the routes (K, L) of a group, the head's module last.

    Args:
        students: K.
        widths: number of modules of each layer, the head's last.
        seed: of the draws.
        distinct: whether no two students may have the same route.
        coverage: whether every module must be on some route.
        per_student: whether the head has a module for each student.

    Raises:
        UserError: no routes satisfy the conditions.
    """
    drawn_widths = widths[:-1] if per_student else widths
    if coverage and students < max(drawn_widths):
        raise UserError(
            f"{students} students cannot cover {max(drawn_widths)} modules per layer; "
            "use at least as many students, or require_coverage=False"
        )
    generator = randomness.generator(seed, "routes")
    routes = draw_routes(students, drawn_widths, distinct=distinct, generator=generator)
    by_layer = True
    while coverage and not (covers(routes, drawn_widths) and (not distinct or len(routes.unique(dim=0)) == students)):
        # Two rejection samplers of the same distribution, in turn: where one rejects nearly all draws, the other seldom does.
        if by_layer:
            routes = torch.cat([draw_covering(students, width, generator) for width in drawn_widths], dim=1)
        else:
            routes = draw_routes(students, drawn_widths, distinct=distinct, generator=generator)
        by_layer = not by_layer
    return torch.cat([routes, torch.arange(students)[:, None]], dim=1) if per_student else routes
