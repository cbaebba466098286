"""The two directions of the Kullback-Leibler divergence, computed: one normal distribution that imitates a mixture of two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from docs.drawings.canvas import Canvas, Theme, polyline

X = np.linspace(-6, 6, 241)
Array = NDArray[np.float64]


def normal(mean: float, deviation: float) -> Array:
    """Return a normal density on the grid, which sums to 1."""
    density = np.exp(-0.5 * ((X - mean) / deviation) ** 2)
    return np.asarray(density / density.sum())


def kl(p: Array, q: Array) -> float:
    """Return KL(p || q)."""
    return float((p * (np.log(p + 1e-300) - np.log(q + 1e-300))).sum())


def best_normal(target: Array, *, forward: bool) -> tuple[Array, float]:
    """Return the normal distribution that is closest to a target, and its divergence, by trying all on a grid."""
    tried = [normal(mean, deviation) for mean in np.linspace(-4, 4, 81) for deviation in np.linspace(0.4, 4, 73)]
    divergences = [kl(target, q) if forward else kl(q, target) for q in tried]
    best = int(np.argmin(divergences))
    return tried[best], divergences[best]


def directions(theme: Theme) -> Canvas:
    """Draw what each direction makes of the student."""
    target = 0.65 * normal(-2, 0.7) + 0.35 * normal(2.2, 0.7)
    canvas = Canvas(theme, 400)
    canvas.heading(24, "KL(teacher || student) covers the teacher")
    canvas.heading(216, "KL(student || teacher) picks one answer")
    for top, forward, colour in ((40, True, theme.students[0]), (232, False, theme.students[1])):
        found, _ = best_normal(target, forward=forward)
        base, scale = top + 130, 110 / max(target.max(), found.max())
        for density, line, fill in ((target, theme.line, theme.pale), (found, colour, "none")):
            points = [(30 + (x + 6) * 30, base - scale * y) for x, y in zip(X, density, strict=True)]
            canvas.line(polyline(points), colour=line, width=2.5, fill=fill)
        canvas.line(f"M20,{base} H400", width=1)
        canvas.text(26, base + 22, "grey: the teacher", size=13, anchor="start")
        canvas.text(394, base + 22, "line: the best student of one hump", size=13, colour=colour, anchor="end")
    return canvas
