"""studygroup trains a group of neural networks that teach each other, and hands you the one to deploy.

import studygroup as sg
run = sg.train("photos/", student="resnet20", method=sg.CGL(students=8), out="runs/photos")
run.best.predict("cat.jpg")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from studygroup.api import benchmark, compare, evaluate, list_names, predict, report, train
from studygroup.errors import TrainingError, UserError

if TYPE_CHECKING:
    from studygroup.methods import *  # noqa: F403
    from studygroup.runs.member import Member as Member
    from studygroup.runs.member import Run as Run

__version__ = "0.1.0"
__all__ = ["TrainingError", "UserError", "benchmark", "compare", "evaluate", "list_names", "predict", "report", "train"]


def __getattr__(name: str) -> Any:
    """What needs torch, all of it classes, is imported when it is first asked for: `studygroup --help` answers at once."""
    if name[:1].isupper():
        later = import_module("studygroup.runs.member" if name in ("Member", "Run") else "studygroup.methods")
        if hasattr(later, name):
            return getattr(later, name)
    raise AttributeError(f"module 'studygroup' has no attribute {name!r}")
