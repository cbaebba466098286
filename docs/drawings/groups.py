"""What a group is: routes through one network, branches on a trunk, separate networks."""

from __future__ import annotations

from docs.drawings.canvas import Canvas, Theme, curve

LAYERS = ("stem", "block 1", "block 2", "block 3")
COLUMNS = (70, 150, 230, 310)
ROUTES = ((0, 1, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1))  # module of each layer, by student


def routes(canvas: Canvas, top: float) -> None:
    """Draw three students as routes through the modules of one network."""
    rows = (top + 78, top + 130)
    canvas.heading(top + 20, "Routes through one network", ["Each layer has two modules; a student takes one of each (cgl)."])
    for x, name in zip(COLUMNS, LAYERS, strict=True):
        for y in rows:
            canvas.box(x, y, 56, 38)
        canvas.text(x, top + 168, name, size=12)
    middle = (rows[0] + rows[1]) / 2
    canvas.box(384, middle, 46, 38, label="head")
    for student, (route, colour) in enumerate(zip(ROUTES, canvas.theme.students, strict=False)):
        shift = 9 * (student - 1)
        points = [(18.0, middle + 3 * shift), *((float(x), rows[module] + shift) for x, module in zip(COLUMNS, route, strict=True))]
        canvas.line(curve([*points, (361.0, middle + shift)]), colour=colour, width=3)
        canvas.dot(18, middle + 3 * shift, 5, colour)


def branches(canvas: Canvas, top: float) -> None:
    """Draw three students that share a trunk."""
    canvas.heading(top + 20, "Branches on a shared trunk", ["The first layers are shared (one, okddip, cl_ilr)."])
    middle = top + 110
    for x, name in zip(COLUMNS[:2], LAYERS, strict=False):
        canvas.box(x, middle, 56, 38)
        canvas.text(x, middle + 36, name, size=12)
    for student, colour in enumerate(canvas.theme.students[:3]):
        y = middle + 42 * (student - 1)
        shift = 9 * (student - 1)
        canvas.box(270, y, 130, 32)
        canvas.box(384, y, 46, 32)
        points = [(18.0, middle + 3 * shift), (70.0, middle + shift), (150.0, middle + shift), (270.0, y), (407.0, y)]
        canvas.line(curve(points), colour=colour, width=3)
        canvas.dot(18, middle + 3 * shift, 5, colour)


def networks(canvas: Canvas, top: float) -> None:
    """Draw three separate networks that imitate each other."""
    canvas.heading(top + 20, "Separate networks", ["Nothing is shared but predictions (dml, kdcl, orc)."])
    for student, colour in enumerate(canvas.theme.students[:3]):
        y = top + 68 + 42 * student
        canvas.box(165, y, 210, 30, fill=canvas.theme.paper, stroke=colour, label=f"student {student + 1}")
        canvas.line(f"M18,{y} L58,{y}", colour=colour, width=3)
        canvas.dot(18, y, 5, colour)
        canvas.line(f"M271,{y} L304,{y}", colour=colour, head=True)
        canvas.box(345, y, 76, 28, label=f"p{student + 1}(y | x)")
        if student:
            canvas.line(f"M345,{y - 16} L345,{y - 26}", colour=canvas.theme.ink, both=True, width=1.5)
    canvas.line(f"M385,{top + 68} C412,{top + 68} 412,{top + 152} 385,{top + 152}", colour=canvas.theme.ink, both=True, width=1.5)


def groups(theme: Theme) -> Canvas:
    """Draw all three."""
    canvas = Canvas(theme, 590)
    routes(canvas, 0)
    branches(canvas, 195)
    networks(canvas, 395)
    canvas.text(210, 582, "arrows: each imitates the others' predictions", size=12, italic=True)
    return canvas


def idea(theme: Theme) -> Canvas:
    """Draw the picture of the first page: routes, and separate networks."""
    canvas = Canvas(theme, 405)
    routes(canvas, 0)
    networks(canvas, 200)
    canvas.text(210, 393, "Any student is a plain network, which you can deploy.", size=13, italic=True)
    return canvas
