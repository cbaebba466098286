"""CGL, Table 2: CGL and its comparators on images."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, above, gain_above
from studygroup.studies.protocols import cgl_images, group_cells, groups, panel
from studygroup.studies.study import Figure, Plan, Setting, Study, rows

SETS = [("cifar10", "resnet18"), ("cifar100", "resnet18"), ("cifar100", "resnet34")]
PUBLISHED = {  # mean and standard deviation of three runs
    "baseline": [(93.97, 0.09), (74.68, 0.13), (76.06, 0.11)],
    "dml": [(94.18, 0.09), (76.13, 0.10), (76.73, 0.12)],
    "cl_ilr": [(94.11, 0.12), (76.61, 0.03), (77.09, 0.12)],
    "one": [(94.19, 0.06), (76.17, 0.12), (76.96, 0.10)],
    "okddip": [(94.29, 0.04), (76.69, 0.04), (77.39, 0.09)],
    "cgl": [(94.61, 0.06), (78.01, 0.07), (78.31, 0.10)],
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    sets = SETS if setting.scale == "paper" else SETS[1:2] if setting.student else SETS[1:]
    panels = {(data, network): panel(cgl_images(setting, network, data), groups(3, 0.25)) for data, network in sets}
    cells = group_cells(panels, {name: dict(zip(SETS, numbers, strict=True)) for name, numbers in PUBLISHED.items()})
    table = rows(cells)
    titles = [one.title for one in panels.values()]
    others = [name for name in table if name not in ("Baseline", "CGL")]
    claims = [
        Claim(
            "CGL significantly outperforms all other methods",
            "Comparison on Image Classification",
            "CGL above each other row, in every column, by seed",
            [above(table["CGL"][column], table[name][column]) for name in table if name != "CGL" for column in titles],
        ),
        Claim(
            "Every collaborative method gains over the network alone",
            "Table 2",
            "each row above the baseline, in every column, by seed",
            [above(table[name][column], table["Baseline"][column]) for name in (*others, "CGL") for column in titles],
        ),
        Claim(
            "Branch-based methods generalise better than DML, especially OKDDip",
            "Comparison on Image Classification",
            "OKDDip above DML, in every column, by seed (CL-ILR and ONE are not above DML in each of the paper's columns)",
            [above(table["OKDDip"][column], table["DML"][column]) for column in titles],
        ),
    ]
    if len(panels) > 1:
        small, large = titles[-2:]
        claims.append(
            Claim(
                "All collaborative methods gain more in the smaller network",
                "Comparison on Image Classification",
                "each row's difference to the baseline with the smaller network, above that with the larger one, by seed",
                [
                    gain_above(
                        (table[name][small], table["Baseline"][small]),
                        (table[name][large], table["Baseline"][large]),
                        f"{name} gains more with {small} than with {large}",
                    )
                    for name in (*others, "CGL")
                ],
            )
        )
    return Plan([*panels.values()], cells, Figure("gains", reference="Baseline"), claims)


STUDY = Study("cgl-table2", "CGL and its comparators on images", "Feng et al., AAAI 2021, Table 2", plan)
