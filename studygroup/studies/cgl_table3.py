"""CGL, Table 3: CGL and its comparators on texts."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, above
from studygroup.studies.protocols import cgl_texts, group_cells, groups, panel
from studygroup.studies.study import Figure, Plan, Setting, Study, rows

SETS = [("yelp_review_full", "vdcnn9"), ("yahoo_answers", "vdcnn9"), ("amazon_review_full", "vdcnn9"), ("imdb", "transformer")]
PUBLISHED = {  # mean and standard deviation of three runs
    "baseline": [(62.15, 0.15), (69.02, 0.07), (60.25, 0.11), (82.30, 0.10)],
    "dml": [(62.53, 0.10), (69.79, 0.11), (60.54, 0.10), (82.45, 0.05)],
    "cl_ilr": [(62.66, 0.08), (70.09, 0.07), (60.59, 0.07), (83.10, 0.07)],
    "one": [(62.74, 0.05), (70.08, 0.09), (60.49, 0.03), (82.66, 0.08)],
    "okddip": [(62.75, 0.18), (70.10, 0.09), (60.63, 0.04), (82.74, 0.12)],
    "cgl": [(63.32, 0.04), (70.35, 0.05), (61.03, 0.05), (83.81, 0.10)],
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    sets = SETS if setting.scale == "paper" else SETS[-1:]
    panels = {(data, network): panel(cgl_texts(setting, data), groups(5, 0.5)) for data, network in sets}
    cells = group_cells(panels, {name: dict(zip(SETS, numbers, strict=True)) for name, numbers in PUBLISHED.items()})
    table = rows(cells)
    titles = [one.title for one in panels.values()]
    claims = [
        Claim(
            "CGL outperforms all other methods on texts, too",
            "Comparison on Text Classification",
            "CGL above each other row, in every column, by seed",
            [above(table["CGL"][column], table[name][column]) for name in table if name != "CGL" for column in titles],
        ),
        Claim(
            "The other methods are slightly better than the network alone",
            "Comparison on Text Classification",
            "each row above the baseline, in every column, by seed",
            [
                above(table[name][column], table["Baseline"][column])
                for name in table
                if name not in ("CGL", "Baseline")
                for column in titles
            ],
        ),
    ]
    return Plan([*panels.values()], cells, Figure("gains", reference="Baseline"), claims)


STUDY = Study("cgl-table3", "CGL and its comparators on texts", "Feng et al., AAAI 2021, Table 3", plan, needs=("texts",))
