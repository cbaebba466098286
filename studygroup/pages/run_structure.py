"""How the students of a run share parameters: the map of their routes, or the tree of their branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from studygroup.pages.plots import Bar, Key, Label, Line, Plot, css
from studygroup.pages.run_facts import RunFacts
from studygroup.pages.scales import Tick
from studygroup.pages.tables import percent
from studygroup.runs.reader import section, values

MOST_STUDENTS = 32
MOST_LAYERS = 128
STEP, BOX, ROW = 44.0, 26.0, 58.0  # of a layer, of a module and of a row of modules
MARGIN = 66.0


def structure(run: RunFacts) -> Plot | None:
    """Return the picture of what the students share; None if they share nothing, or the run does not say."""
    kind = run.group.get("group")
    if kind == "modular":
        routes = _routes(run.group.get("routes"))
        return None if not routes else route_map(routes, run.names)
    if kind == "branched":
        return tree(run)
    return None


def _routes(value: object) -> list[list[int]]:
    """Return the routes of the students; none if the value is something else."""
    if not isinstance(value, Sequence) or not value or len(value) > MOST_STUDENTS:
        return []
    routes = [list(route) for route in value if isinstance(route, Sequence) and not isinstance(route, str)]
    lengths = {len(route) for route in routes}
    numbers = all(isinstance(module, int) and 0 <= module < 64 for route in routes for module in route)
    fits = len(routes) == len(value) and len(lengths) == 1 and 0 < lengths.pop() <= MOST_LAYERS
    return routes if fits and numbers else []


def route_map(routes: Sequence[Sequence[int]], names: Sequence[str]) -> Plot:
    """Draw the routes: a column per layer, a box per module, a line per student."""
    layers = len(routes[0])
    students = [f"student{k}" for k in range(len(routes))]
    colours = {name: css(names.index(name) if name in names else k) for k, name in enumerate(students)}
    modules = [sorted({route[layer] for route in routes}) for layer in range(layers)]
    most = max(max(used) for used in modules) + 1
    top = 16.0
    height = top + ROW * most + 40
    width = MARGIN + STEP * layers + 14
    bars = []
    for layer, used in enumerate(modules):
        for module in used:
            walkers = [students[k] for k, route in enumerate(routes) if route[layer] == module]
            tip = f"layer {layer + 1}, module {module + 1}\n{len(walkers)} of {len(routes)} students: {', '.join(walkers)}"
            bars.append(Bar(MARGIN + STEP * layer, top + ROW * module, BOX, ROW - 12, "module", tip))
    lines = []
    for k, (name, route) in enumerate(zip(students, routes, strict=True)):
        offset = (ROW - 12) * (k + 1) / (len(routes) + 1)
        xs, ys = [], []
        for layer, module in enumerate(route):
            left, y = MARGIN + STEP * layer, top + ROW * module + offset
            xs += [left, left + BOX]
            ys += [y, y]
        lines.append(Line(name, colours[name], xs, [round(y, 1) for y in ys], []))
    return Plot(
        "Routes",
        about=f"the routes of {len(routes)} students through {layers} layers of modules",
        x_label="layer; the last one is the head",
        x_ticks=[Tick(MARGIN + STEP * layer + BOX / 2, str(layer + 1)) for layer in range(layers)],
        y_ticks=[Tick(top + ROW * module + (ROW - 12) / 2, f"module {module + 1}") for module in range(most)],
        lines=lines,
        bars=bars,
        legend=[Key(name, colours[name]) for name in students],
        note=_shared(routes),
        width=width,
        height=height,
        left=MARGIN,
        bottom=40.0,
        top=top,
        axis=False,
    )


def _shared(routes: Sequence[Sequence[int]]) -> str:
    """Say how much two students share."""
    pairs = [(a, b) for place, a in enumerate(routes) for b in routes[:place]]
    if not pairs:
        return ""
    mean = sum(sum(x == y for x, y in zip(a, b, strict=True)) for a, b in pairs) / len(pairs)
    return f"A student is a route through the modules. Two students share {mean:.1f} of {len(routes[0])} layers on average."


def tree(run: RunFacts) -> Plot:
    """Draw the trunk that all students share, and their branches with their accuracy."""
    last = section(run.result, "last")
    accuracy: Mapping[str, float] = values(last, "test") or values(last, "holdout")
    names = run.students[:MOST_STUDENTS]
    row, trunk, branch, gap = 30.0, 120.0, 190.0, 60.0
    height = max(row * len(names) + 24, 70.0)
    middle = height / 2
    begins = run.group.get("branch_from")
    where = f"up to {begins}" if isinstance(begins, str) and begins else "all stages but the last"
    bars = [Bar(12, middle - 24, trunk, 48, "module", f"trunk: {where}\nshared by {len(names)} students")]
    labels = [Label(12 + trunk / 2, middle - 3, "trunk", "strong", "middle"), Label(12 + trunk / 2, middle + 13, where, "small", "middle")]
    lines = []
    for k, name in enumerate(names):
        y = 12 + row * k + row / 2
        left = 12 + trunk + gap
        colour = css(run.names.index(name) if name in run.names else k)
        share = accuracy.get(name)
        lines.append(Line(name, colour, [12 + trunk, 12 + trunk + gap / 2, left - gap / 2 + 4, left], [middle, middle, y, y], []))
        bars.append(Bar(left, y - row / 2 + 3, branch, row - 6, "module", f"{name}: a branch of its own\naccuracy {percent(share)}", name))
        labels.append(Label(left + 10, y + 4, f"{name}  {percent(share) if share is not None else ''}", "", "start", name))
    return Plot(
        "Branches",
        about=f"{len(names)} branches on a shared trunk",
        lines=lines,
        bars=bars,
        labels=labels,
        note="The students share the trunk; each has a branch of its own.",
        width=12 + trunk + gap + branch + 12,
        height=height,
    )
