"""Draw docs/idea.svg: a group as routes through one network, and as networks that teach each other.

python docs/draw_idea.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

STUDENTS = ("#2b6cb0", "#d9730d", "#2f855a")
INK, PALE, LINE = "#1f2937", "#f3f4f6", "#9ca3af"
LAYERS = ("stem", "block 1", "block 2", "block 3")
ROUTES = ((0, 1, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1))  # module of each layer, by student


def text(x: float, y: float, words: str, size: int = 13, colour: str = INK, anchor: str = "middle", weight: str = "normal") -> str:
    """Return a line of text."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{words}</text>'


def box(x: float, y: float, width: float, height: float, fill: str = PALE, stroke: str = LINE) -> str:
    """Return a rounded rectangle around its centre."""
    left, top = x - width / 2, y - height / 2
    return f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="{stroke}"/>'


def arrow(path: str, colour: str, *, dashed: bool = False, both: bool = False) -> str:
    """Return a path with a head at its end, or at both ends."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    start = ' marker-start="url(#head)"' if both else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash} marker-end="url(#head)"{start}/>'


def routes() -> list[str]:
    """Draw three students as routes through the modules of one network."""
    rows, columns = (115, 185), [95 + 95 * layer for layer in range(len(LAYERS))]
    parts = [text(245, 34, "Routes through one network", 16, weight="bold")]
    for x, name in zip(columns, LAYERS, strict=True):
        parts.append(text(x, 78, name, 12))
        parts += [box(x, y, 62, 44) for y in rows]
    parts += [box(475, 150, 52, 44), text(475, 154, "head", 12)]
    for student, (route, colour) in enumerate(zip(ROUTES, STUDENTS, strict=True)):
        shift = 9 * (student - 1)
        points = [(18.0, 150.0 + 3 * shift), *((x, rows[module] + shift) for x, module in zip(columns, route, strict=True))]
        points += [(449.0, 150.0 + shift)]
        line = f"M{points[0][0]:g},{points[0][1]:g} " + " ".join(
            f"C{(a[0] + b[0]) / 2:g},{a[1]:g} {(a[0] + b[0]) / 2:g},{b[1]:g} {b[0]:g},{b[1]:g}" for a, b in pairwise(points)
        )
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<circle cx="18" cy="{150 + 3 * shift}" r="5" fill="{colour}"/>')
    parts.append(text(245, 265, "Every student is a path through shared modules, trained on its own share"))
    parts.append(text(245, 285, "of the data, and imitates a random subgroup of the others (CGL)."))
    return parts


def networks() -> list[str]:
    """Draw three separate networks that learn from the labels and from each other."""
    left = 545
    parts = [text(left + 215, 34, "Networks that teach each other", 16, weight="bold")]
    heights = (85, 150, 215)
    for number, (y, colour) in enumerate(zip(heights, STUDENTS, strict=True), start=1):
        parts += [box(left + 110, y, 150, 40, "white", colour), text(left + 110, y + 5, f"student {number}", 13, colour, weight="bold")]
        parts += [
            arrow(f"M{left + 187},{y} L{left + 226},{y}", colour),
            box(left + 262, y, 64, 30),
            text(left + 262, y + 5, f"p{number}(x)", 13),
        ]
        parts.append(f'<path d="M{left + 8},150 L{left + 34},{y}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    parts.append(text(left, 154, "x", 15, anchor="end"))
    for top, bottom in pairwise(heights):
        parts.append(arrow(f"M{left + 262},{top + 19} L{left + 262},{bottom - 19}", INK, dashed=True, both=True))
    parts.append(
        arrow(
            f"M{left + 298},{heights[0]} C{left + 350},{heights[0]} {left + 350},{heights[2]} {left + 298},{heights[2]}",
            INK,
            dashed=True,
            both=True,
        )
    )
    parts += [text(left + 372, 146, "imitate", 12), text(left + 372, 162, "(KL)", 12)]
    parts.append(text(left + 215, 265, "Each learns from the labels and from the others' predictions (DML)."))
    parts.append(text(left + 215, 285, "Any one of them, a plain network, is what you deploy."))
    return parts


def main() -> None:
    """Write the picture."""
    head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
    head += '<path d="M0,0 L8,4 L0,8 z" fill="context-stroke"/></marker>'
    frame = (
        f'<rect width="1000" height="305" rx="10" fill="white" stroke="{PALE}"/><path d="M520,24 V276" stroke="{PALE}" stroke-width="2"/>'
    )
    start = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 305" width="1000" height="305" font-family="sans-serif">'
    content = "\n".join([start, f"<defs>{head}</defs>", frame, *routes(), *networks(), "</svg>"])
    Path(__file__).with_name("idea.svg").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
