"""Grids of runs: several methods over several seeds, side by side, and the leaderboard that comes of them."""
