"""studygroup trains a group of neural networks that teach each other, and hands you the one to deploy.

import studygroup as sg
run = sg.train("photos/", student="resnet20", method=sg.CGL(students=8), out="runs/photos")
run.best.predict("cat.jpg")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from studygroup.api import advise, benchmark, compare, evaluate, export, list_names, list_runs, predict, report, study, train
from studygroup.errors import TrainingError, UserError

if TYPE_CHECKING:
    from studygroup.exporting.model import ExportedModel as ExportedModel
    from studygroup.methods import *  # noqa: F403
    from studygroup.runs.member import Member as Member
    from studygroup.runs.member import Run as Run

__version__ = "0.2.0"
__all__ = [
    "TrainingError",
    "UserError",
    "advise",
    "benchmark",
    "compare",
    "evaluate",
    "export",
    "list_names",
    "list_runs",
    "predict",
    "report",
    "study",
    "train",
]


CLASSES = {"ExportedModel": "studygroup.exporting.model", "Member": "studygroup.runs.member", "Run": "studygroup.runs.member"}
PACKAGES = ("analysis", "data", "losses", "methods", "networks", "options")


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used, so that `studygroup --help` is fast."""
    if name in PACKAGES:
        return import_module(f"studygroup.{name}")
    if name[:1].isupper():
        module = import_module(CLASSES.get(name, "studygroup.methods"))
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module 'studygroup' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also those that are imported on first use."""
    return sorted({*__all__, *import_module("studygroup.methods").CLASSES, *PACKAGES, *CLASSES})
