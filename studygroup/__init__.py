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
    from studygroup.methods import (
        AB,
        AT,
        BSS,
        CC,
        CGL,
        CLILR,
        CRD,
        DGKD,
        DML,
        FSP,
        FT,
        KD,
        KDCL,
        NST,
        ONE,
        ORC,
        PKT,
        RKD,
        SP,
        SRRL,
        TAKD,
        VID,
        Baseline,
        Codistillation,
        FitNet,
        Method,
        OKDDip,
    )
    from studygroup.training.run import Member, Run

__version__ = "0.1.0"

# What needs torch is imported when it is first asked for: `studygroup --help` answers at once.
_LATER = {
    **dict.fromkeys(
        (
            "Baseline",
            "KD",
            "TAKD",
            "DGKD",
            "AB",
            "FT",
            "FSP",
            "DML",
            "CLILR",
            "ONE",
            "OKDDip",
            "KDCL",
            "Codistillation",
            "CGL",
            "ORC",
            "FitNet",
            "AT",
            "SP",
            "CC",
            "VID",
            "RKD",
            "PKT",
            "NST",
            "CRD",
            "SRRL",
            "BSS",
            "Method",
        ),
        "studygroup.methods",
    ),
    **dict.fromkeys(("Member", "Run"), "studygroup.training.run"),
}

__all__ = [
    "AB",
    "AT",
    "BSS",
    "CC",
    "CGL",
    "CLILR",
    "CRD",
    "DGKD",
    "DML",
    "FSP",
    "FT",
    "KD",
    "KDCL",
    "NST",
    "ONE",
    "ORC",
    "PKT",
    "RKD",
    "SP",
    "SRRL",
    "TAKD",
    "VID",
    "Baseline",
    "Codistillation",
    "FitNet",
    "Member",
    "Method",
    "OKDDip",
    "Run",
    "TrainingError",
    "UserError",
    "benchmark",
    "compare",
    "evaluate",
    "list_names",
    "predict",
    "report",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'studygroup' has no attribute {name!r}")
