"""Grids of runs: several methods over several seeds, side by side, and the leaderboard that comes of them."""

from studygroup.grid.compare import compare

__all__ = ["compare"]
