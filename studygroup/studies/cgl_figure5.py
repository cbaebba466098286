"""CGL, Figure 5: accuracy over the ratio of shared parameters."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, slope
from studygroup.studies.protocols import cgl, cgl_images, panel
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

MODULES = {"tiny": (2, 4), "small": (2, 3, 4, 8), "paper": (2, 3, 4, 6, 8)}
SHARED = {"tiny": (0, 2), "small": (0, 1, 2, 3), "paper": (0, 2, 4, 6, 8)}
"""Layers that all share: a resnet8 has 4 layers of modules, a resnet18 has 9."""
SPARSE, DENSE = "(a) modules per layer", "(b) shared layers"


def plan(setting: Setting) -> Plan:
    """Plan the study; routes may coincide, so that there are always 8 students."""
    modules, shared = MODULES[setting.scale], SHARED[setting.scale]
    variants = {
        "cgl": cgl(distinct=False),
        **{f"modules-{count}": cgl(distinct=False, modules=count) for count in modules if count != 2},
        **{f"shared-{count}": cgl(distinct=False, shared_layers=count) for count in shared if count},
    }
    one = panel(cgl_images(setting), variants)
    cells = []
    for title, counts, name, plain in ((SPARSE, modules, "modules", 2), (DENSE, shared, "shared", 0)):
        for measure, about in (("test", "Accuracy"), ("sharing_ratio", "Sharing ratio")):
            cells += [
                Cell("CGL", f"{count}", one.name, "cgl" if count == plain else f"{name}-{count}", measure, f"{about}, {title}", x=count)
                for count in counts
            ]
    sparse, dense = (list(rows(cells, f"Accuracy, {title}")["CGL"].values()) for title in (SPARSE, DENSE))
    where = "Impact of Parameter Sharing, Figure 5"
    claims = [
        Claim(
            "Sharing too few layers weakens the transfer of knowledge",
            where,
            "the slope of accuracy over the number of modules per layer is negative, by seed",
            [slope(sparse, "accuracy falls with more modules per layer", -1.0)],
            "points per module",
        ),
        Claim(
            "Sharing too many layers makes students alike",
            where,
            "the slope of accuracy over the number of layers that all share is negative, by seed",
            [slope(dense, "accuracy falls with more shared layers", -1.0)],
            "points per layer",
        ),
    ]
    figure = Figure(
        "lines",
        x_label="modules per layer M|layers that all students share",
        blocks=[(f"Accuracy, {title}", f"Sharing ratio, {title}") for title in (SPARSE, DENSE)],
    )
    notes = ["Sharing ratio: the mean, over pairs of students, of the fraction of layers in which both have the same module."]
    return Plan([one], cells, figure, claims, notes)


STUDY = Study("cgl-figure5", "Accuracy over the ratio of shared parameters", "Feng et al., AAAI 2021, Figure 5", plan)
