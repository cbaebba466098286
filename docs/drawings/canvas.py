"""Shapes in SVG, in the colours of a theme. Drawings are 430 units wide with letters of 12 or more, so that a phone shows them legibly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

WIDTH = 430


@dataclass(frozen=True)
class Theme:
    """Colours of a variant."""

    name: str
    paper: str
    ink: str
    pale: str
    line: str
    students: tuple[str, ...]


LIGHT = Theme("light", "#ffffff", "#1f2937", "#eef0f3", "#8b93a1", ("#2563ab", "#c2570c", "#2f7d4f", "#7c3aad"))
DARK = Theme("dark", "#131416", "#e4e6ea", "#2a2e35", "#7d8592", ("#6cabee", "#f0a35e", "#62c08e", "#c39bf0"))


@dataclass
class Canvas:
    """A drawing that is made from the top down."""

    theme: Theme
    height: float
    parts: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 13,
        colour: str = "",
        anchor: str = "middle",
        bold: bool = False,
        italic: bool = False,
    ) -> None:
        """Write a line of text whose baseline is at y."""
        style = (' font-weight="bold"' if bold else "") + (' font-style="italic"' if italic else "")
        colour = colour or self.theme.ink
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{style}>{escape(words)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: str = "", stroke: str = "", label: str = "", size: int = 12
    ) -> None:
        """Draw a rounded rectangle around its centre, perhaps with a label."""
        left, top = x - width / 2, y - height / 2
        fill, edge = fill or self.theme.pale, stroke or self.theme.line
        self.parts.append(f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="5" fill="{fill}" stroke="{edge}"/>')
        if label:
            self.text(x, y + size * 0.35, label, size=size, colour=stroke or self.theme.ink, bold=bool(stroke))

    def line(
        self,
        path: str,
        *,
        colour: str = "",
        width: float = 2,
        dashed: bool = False,
        head: bool = False,
        both: bool = False,
        fill: str = "none",
    ) -> None:
        """Draw a path, perhaps with a head at its end or at both ends."""
        colour = colour or self.theme.line
        ends = (' marker-end="url(#head)"' if head or both else "") + (' marker-start="url(#head)"' if both else "")
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<path d="{path}" fill="{fill}" stroke="{colour}" stroke-width="{width:g}"{dash}{ends}/>')

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """Draw a filled circle."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>')

    def ring(self, x: float, y: float, radius: float, colour: str) -> None:
        """Draw a circle."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def image(self, x: float, y: float, side: float, address: str) -> None:
        """Place a square image, whose pixels stay sharp, by its `data:` address."""
        style = 'style="image-rendering:pixelated"'
        self.parts.append(f'<image x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" {style} href="{address}"/>')

    def heading(self, y: float, words: str, under: Sequence[str] = ()) -> None:
        """Write a heading at the left margin, and lines below it."""
        self.text(14, y, words, size=15, anchor="start", bold=True)
        for number, line in enumerate(under, start=1):
            self.text(14, y + 18 * number, line, size=13, anchor="start")

    def svg(self, title: str) -> str:
        """Return the drawing as a file's content."""
        head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto-start-reverse">'
        head += '<path d="M0,0 L8,4 L0,8 z" fill="context-stroke"/></marker>'
        start = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" width="{WIDTH}" height="{self.height:g}" '
            f'font-family="system-ui, sans-serif" role="img"><title>{escape(title)}</title>'
        )
        paper = f'<rect width="{WIDTH}" height="{self.height:g}" rx="8" fill="{self.theme.paper}"/>'
        return "\n".join([start, f"<defs>{head}</defs>", paper, *self.parts, "</svg>", ""])


def curve(points: Sequence[tuple[float, float]]) -> str:
    """Return a path that leaves and reaches each of its points horizontally."""
    pieces = [f"M{points[0][0]:g},{points[0][1]:g}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        pieces.append(f"C{middle:g},{y0:g} {middle:g},{y1:g} {x1:g},{y1:g}")
    return " ".join(pieces)


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Return a path of straight pieces."""
    return "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in points)
