"""Functions of finished runs: what the papers' figures need beyond accuracies.

    from studygroup.analysis import noise, ranks, roles, sharing

- `noise`: accuracy with Gaussian noise on the parameters (CGL, Figure 6).
- `sharing`: how many layers and parameters the students share (CGL, Figures 3(b) and 5).
- `ranks`: rank correlation with an interval (CGL, Table 7).
- `roles`: who was promoted in each epoch, and who fed back how much (ORC).

Diversity is in every run's `metrics.jsonl` and `result.json` (`studygroup.training.evaluate.diversity`).
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

MODULES = ("noise", "ranks", "roles", "sharing")


def __getattr__(name: str) -> ModuleType:
    """Import a module when it is first used: `ranks` and `roles` need no torch."""
    if name in MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
