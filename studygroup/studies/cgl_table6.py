"""CGL, Table 6: what sub-set data learning does to the students' diversity."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, above
from studygroup.studies.protocols import cgl, cgl_images, cgl_texts, panel, title
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

SETS = {("cifar100", "resnet18"): (0.535, 0.178), ("yelp_review_full", "vdcnn9"): (0.185, 0.131), ("imdb", "transformer"): (0.056, 0.039)}
"""Published diversity with and without."""
VARIANTS = {
    "With, divided at every epoch": ("subsets", cgl(probability=1.0)),
    "With, divided once": ("subsets-fixed", cgl(probability=1.0, division="fixed")),
    "Without": ("no-subsets", cgl(probability=1.0, division="none")),
}


def plan(setting: Setting) -> Plan:
    """Plan the study; at the smaller scales its texts are those that are given, if there are any."""
    sets = list(SETS)
    if setting.scale != "paper":
        sets = [sets[0], *([sets[-1]] if setting.texts is not None else [])]
    panels = [panel(cgl_images(setting) if data == "cifar100" else cgl_texts(setting, data), dict(VARIANTS.values())) for data, _ in sets]
    cells = [
        Cell(row, one.title, one.name, name, "diversity", published=SETS[place][row == "Without"], stands_for=title(*place))
        for one, place in zip(panels, sets, strict=True)
        for row, (name, _) in VARIANTS.items()
    ]
    table = rows(cells)
    once, each, without = (table[row] for row in ("With, divided once", "With, divided at every epoch", "Without"))
    how = "the diversity with sub-set data learning above that without, in every column, by seed; sub-group imitation is off, as there"
    claims = [
        Claim(
            "Sub-set data learning makes students more diverse (data divided once, as the text reads)",
            "Model Diversity Analysis, Table 6",
            how,
            [above(once[column], without[column]) for column in once],
            "of diversity",
        ),
        Claim(
            "Sub-set data learning makes students more diverse (data divided anew at every epoch)",
            "Model Diversity Analysis, Table 6",
            how,
            [above(each[column], without[column]) for column in each],
            "of diversity",
        ),
    ]
    notes = [
        (
            "Diversity: the mean L2 distance between two students' predicted distributions, on the test set after the last epoch; where "
            "and when the paper takes it is not said."
        )
    ]
    if setting.scale == "small" and setting.texts is None:
        notes.append("No texts were given (--data TABLE.csv), so that the paper's two sets of texts have no counterpart here.")
    return Plan(panels, cells, Figure("bars"), claims, notes)


STUDY = Study("cgl-table6", "Diversity with and without sub-set data learning", "Feng et al., AAAI 2021, Table 6", plan, takes=("texts",))
