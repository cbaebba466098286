"""ORC, Table 4: online methods, all networks of one size."""

from __future__ import annotations

from typing import Any

from studygroup.studies.contrasts import Claim, all_above
from studygroup.studies.protocols import orc, orc_epochs, orc_images, panel, printed, title
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

NETWORKS = {
    "paper": ("resnet32x4", "resnet110", "resnet56", "resnet50", "vgg13", "wrn_40_2"),
    "small": ("resnet8", "wrn_16_1"),
    "tiny": ("resnet8",),
}
STANDS_FOR = {"resnet8": "resnet56", "wrn_16_1": "wrn_40_2"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {  # row: variant, options
    "Baseline": ("teacher", {"method": "baseline"}),
    "Hinton": ("kd", {"method": "kd", "teacher": "teacher"}),
    "DML": ("dml", {"method": {"name": "dml", "students": 2}}),
    "KDCL": ("kdcl", {"method": {"name": "kdcl", "students": 4}}),
    "ORC": ("orc", orc(students=3)),
}
PUBLISHED = {
    "Baseline": (79.42, 74.31, 72.34, 79.34, 74.31, 75.61),
    "Hinton": (80.25, 76.60, 74.87, 80.01, 76.15, 78.07),
    "DML": (80.57, 74.47, 74.47, 80.74, 77.34, 77.63),
    "KDCL": (80.23, 76.23, 74.79, 80.87, 76.89, 78.03),
    "ORC": (81.56, 78.03, 76.54, 81.21, 77.45, 79.39),
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    epochs = orc_epochs(setting.scale)
    variants = {name: {**options, **({} if name == "teacher" else printed(epochs))} for name, options in VARIANTS.values()}
    networks = (setting.student,) if setting.student else NETWORKS[setting.scale]
    panels = [panel(orc_images(setting, network, epochs=epochs), variants) for network in networks]
    cells = []
    for one, network in zip(panels, networks, strict=True):
        paper = network if network in NETWORKS["paper"] else STANDS_FOR.get(network, "resnet56")
        place = NETWORKS["paper"].index(paper)
        cells += [
            Cell(row, one.title, one.name, name, "members_test", published=PUBLISHED[row][place], stands_for=title("cifar100", paper))
            for row, (name, _) in VARIANTS.items()
        ]
    table = rows(cells)
    where = "Network perspective of equal size, Table 4"
    claims = [
        Claim(
            "ORC is significantly better than the other methods in each network",
            where,
            "ORC above each other row, in every column, by seed",
            [part for row in table if row not in ("ORC", "Baseline") for part in all_above(table["ORC"], table[row])],
        ),
        *(
            Claim(
                f"{row} improves over the network alone",
                where,
                "above the baseline, in every column, by seed",
                all_above(table[row], table["Baseline"]),
            )
            for row in table
            if row != "Baseline"
        ),
    ]
    notes = [
        (
            "Two networks for Hinton's distillation and DML, four for KDCL and ORC, one of which is the pivot. Which of them a number is "
            "of, the paper does not say: here it is the mean of the students after the last epoch. How the comparators were set is not "
            "said either: they have their defaults."
        ),
        "The baseline is the teacher and pivot, with the milestones of the CRD protocol; the others have those that the paper prints.",
        "The paper's baseline of vgg13, 74.31, equals resnet110's; its Tables 6 and 7 have 74.64.",
    ]
    return Plan(panels, cells, Figure("gains", reference="Baseline"), claims, notes)


STUDY = Study("orc-table4", "ORC and online methods, networks of one size", "Choi et al., arXiv:2206.01186, Table 4", plan)
