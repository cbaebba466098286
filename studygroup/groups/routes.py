"""Routes: which module of each layer a student uses (Feng et al., AAAI 2021, Eq. 1)."""

from __future__ import annotations

import math
import reprlib
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from studygroup import randomness
from studygroup.errors import UserError
from studygroup.escape import shortened


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


def draw_shared_layers(count: int, layers: Sequence[int], seed: int) -> list[int]:
    """Draw `count` of some layers, uniformly; the same seed draws those of a smaller count, and more.

    Raises:
        UserError: there are fewer layers.
    """
    if count > len(layers):
        raise UserError(f"shared_layers is {count}, but only {len(layers)} layers have several modules; give at most {len(layers)}")
    order = torch.randperm(len(layers), generator=randomness.generator(seed, "shared layers"))[:count]
    return [layers[place] for place in order.tolist()]


def check_routes(
    routes: Sequence[Sequence[int]],
    students: int,
    names: Sequence[str],
    widths: Sequence[int],
    *,
    distinct: bool,
    coverage: bool,
    routed_head: bool,
) -> Tensor:
    """Return given routes (K, L), the head's module last.

    Args:
        routes: for each student the module of each layer; that of a head that is not routed may be left out.
        students: K.
        names: of the layers, the head's last.
        widths: number of modules of each layer.
        distinct: whether no two students may have the same route.
        coverage: whether every module must be on some route.
        routed_head: whether routes choose the head; if not, there is one head, or one for each student.

    Raises:
        UserError: these are no routes through such layers, or they do not satisfy the conditions.
    """
    if len(routes) != students:
        raise UserError(f"routes has {len(routes)} routes for {students} students; give one for each, or another number of students")
    needed, most = len(names) - (not routed_head), len(names)
    heads = range(len(routes)) if widths[-1] > 1 else [0] * len(routes)
    whole: list[tuple[int, ...]] = []
    for student, (route, head) in enumerate(zip(routes, heads, strict=True)):
        if isinstance(route, str) or not isinstance(route, Sequence) or not all(isinstance(module, int) for module in route):
            raise UserError(f"route {student} is {reprlib.repr(route)}; it must be a list of whole numbers, the module of each layer")
        if len(route) not in (needed, most):
            layers = shortened(", ".join(names[:needed]), 200)
            raise UserError(
                f"route {student} has {len(route)} modules, but the network has {needed} layers ({layers}); give one module for each"
            )
        full = (*route, *([head] if len(route) < most else []))
        for module, name, width in zip(full, names, widths, strict=True):
            if not 0 <= module < width:
                count = "one module, number 0" if width == 1 else f"{width} modules, numbers 0 to {width - 1}"
                raise UserError(f"route {student} takes module {module} of {name}, which has {count}; correct it, or change modules")
        if not routed_head and full[-1] != head:
            raise UserError(f"route {student} takes head {full[-1]}, but its head is number {head}; leave the head out of routes")
        if distinct and full[:needed] in (earlier[:needed] for earlier in whole):
            twin = next(number for number, earlier in enumerate(whole) if earlier[:needed] == full[:needed])
            raise UserError(f"routes {twin} and {student} are the same; change one, or give distinct=False")
        whole.append(full)
    found = torch.tensor(whole, dtype=torch.int64)
    if coverage and not covers(found, widths):
        raise UserError("some modules are on no route; change the routes, or give require_coverage=False")
    return found


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
