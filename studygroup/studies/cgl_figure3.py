"""CGL, Figure 3: accuracy and trained parameters over the number of students."""

from __future__ import annotations

import math
from typing import Any

from studygroup.studies.contrasts import Claim, Contrast, above, difference, rise_and_fall, slope
from studygroup.studies.protocols import GROUP_NAMES, cgl, cgl_images, panel
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

COUNTS = {"tiny": (2, 3, 4), "small": (2, 4, 8, 16), "paper": (2, 4, 8, 16, 32)}
METHODS = ("cgl", "dml", "cl_ilr", "one", "okddip")
IMITATED = 2
"""Students that CGL imitates in the mean, as with 8 and p = .25: p shrinks as students join, and the cost stays."""
ACCURACY, PARAMETERS = "(a) Accuracy", "(b) Trained parameters"


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    counts = COUNTS[setting.scale]
    variants: dict[str, dict[str, Any]] = {"baseline": {"method": "baseline"}}
    for count in counts:
        for method in METHODS[1:]:
            variants[f"{method}-{count}"] = {"method": {"name": method, "students": count}}
        variants[f"cgl-{count}"] = cgl(probability=min(IMITATED / count, 1.0), students=count)
    one = panel(cgl_images(setting, epochs=200), variants)
    cells = [
        Cell(GROUP_NAMES[method], f"{count} students", one.name, f"{method}-{count}", measure, block, x=count)
        for block, measure in ((ACCURACY, "test"), (PARAMETERS, "trained_parameters"))
        for method in METHODS
        for count in counts
    ]
    accuracy = {name: list(row.values()) for name, row in rows(cells, ACCURACY).items()}
    size = {name: list(row.values()) for name, row in rows(cells, PARAMETERS).items()}
    slopes = {name: slope(row, name, place=math.log2) for name, row in accuracy.items()}
    network = [(size["DML"][0].key, 1 / counts[0])]  # DML has separate ones
    minus = [(key, -weight) for key, weight in network]
    where = "Impact of Student Population, Figure 3"
    claims = [
        Claim(
            "CGL is best with any number of students",
            where,
            "CGL above each other method at each number, by seed",
            [above(own, other) for name, row in accuracy.items() if name != "CGL" for own, other in zip(accuracy["CGL"], row, strict=True)],
        ),
        Claim(
            "The curves of all methods rise first and then decline",
            where,
            "each curve's first step upwards and its last step downwards, by seed",
            [part for name, row in accuracy.items() for part in rise_and_fall(row, name)],
        ),
        Claim(
            "CL-ILR and ONE decline earlier than OKDDip and CGL",
            where,
            "the slope of accuracy over the logarithm of the number of students higher for OKDDip and CGL than for CL-ILR and ONE, by seed",
            [
                difference(slopes[late], slopes[early], f"slope of {late} above that of {early}")
                for late in ("OKDDip", "CGL")
                for early in ("CL-ILR", "ONE")
            ],
            "points per doubling",
        ),
        Claim(
            "CGL's parameters stay as they are, whereas those of the other methods grow",
            where,
            "from the fewest students to the most, CGL grows by less than one network (with few students some modules are on no "
            "route), the other methods by more",
            [
                Contrast("CGL grows by less than a network", [*network, (size["CGL"][0].key, 1.0), (size["CGL"][-1].key, -1.0)]),
                *(
                    Contrast(f"{name} grows by more than a network", [(row[-1].key, 1.0), (row[0].key, -1.0), *minus])
                    for name, row in size.items()
                    if name != "CGL"
                ),
            ],
            "million",
        ),
    ]
    notes = [f"CGL imitates {IMITATED} students in the mean at any number, so that its cost stays as it is; the paper varies p, too."]
    return Plan([one], cells, Figure("lines", x_label="number of students", log=True), claims, notes)


STUDY = Study("cgl-figure3", "Accuracy and parameters over the number of students", "Feng et al., AAAI 2021, Figure 3", plan)
