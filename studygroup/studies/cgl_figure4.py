"""CGL, Figure 4: accuracy and diversity over the imitating probability."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, rise_and_fall, slope
from studygroup.studies.protocols import cgl, cgl_images, panel
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

PROBABILITIES = (0.125, 0.25, 0.5, 0.75, 1.0)
ACCURACY, DIVERSITY = "Accuracy", "Diversity"


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    places = PROBABILITIES[::2] if setting.scale == "tiny" else PROBABILITIES
    one = panel(cgl_images(setting), {f"p-{p:g}": cgl(probability=p) for p in places})
    cells = [
        Cell("CGL", f"p = {p:g}", one.name, f"p-{p:g}", measure, block, x=p)
        for block, measure in ((ACCURACY, "test"), (DIVERSITY, "diversity"))
        for p in places
    ]
    accuracy, diversity = (list(rows(cells, block)["CGL"].values()) for block in (ACCURACY, DIVERSITY))
    where = "Model Diversity Analysis, Figure 4"
    claims = [
        Claim(
            "The more students are imitated, the less diverse they are",
            where,
            "the slope of the diversity over p is negative, by seed",
            [slope(diversity, "the diversity falls with p", -1.0)],
            "of diversity per unit of p",
        ),
        Claim(
            "The accuracy first ascends and then slowly declines",
            where,
            "the first step upwards, and the last step downwards, by seed",
            rise_and_fall(accuracy, "accuracy"),
        ),
    ]
    notes = ["Diversity: as in Table 6, on the test set after the last epoch. Which p the paper has between .125 and 1 is not said."]
    return Plan([one], cells, Figure("lines", x_label="imitating probability p", blocks=[(ACCURACY, DIVERSITY)]), claims, notes)


STUDY = Study("cgl-figure4", "Accuracy and diversity over the imitating probability", "Feng et al., AAAI 2021, Figure 4", plan)
