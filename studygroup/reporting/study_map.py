"""Map of where a group pays: training-set size over updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_map(figure: Figure, study: Mapping[str, Any]) -> None:
    """Draw it."""
    raise NotImplementedError
