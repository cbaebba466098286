"""CGL, Table 4: each of its three parts left out."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, above
from studygroup.studies.protocols import cgl, cgl_images, panel
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

VARIANTS = {  # row: variant, its options, published accuracy
    "Baseline": ("baseline", {"method": "baseline"}, 74.68),
    "CGL": ("cgl", cgl(), 78.01),
    "w/o RR": ("no-routing", cgl(routing=False), 75.75),
    "w/o SDL": ("no-subsets", cgl(division="none"), 77.48),
    "w/o SGI": ("no-subgroups", cgl(probability=1.0), 77.23),
    "CGL, data divided once": ("cgl-fixed", cgl(division="fixed"), None),
    "CGL, batch norm by student": ("cgl-bn", cgl(bn="per_student"), None),
    "w/o RR, batch norm by student": ("no-routing-bn", cgl(routing=False, bn="per_student"), None),
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    one = panel(cgl_images(setting), {name: options for name, options, _ in VARIANTS.values()})
    cells = [
        Cell(row, one.title, one.name, name, published=told, stands_for="CIFAR-100, resnet18") for row, (name, _, told) in VARIANTS.items()
    ]
    at = {row: columns[one.title] for row, columns in rows(cells).items()}
    where = "Ablation Study, Table 4"
    claims = [
        Claim(
            "Random routing is needed: separate networks do worse",
            where,
            "CGL above CGL without random routing, by seed; with batch norm as each has it, and by student on both sides, where nothing "
            "but the sharing of parameters differs",
            [above(at["CGL"], at["w/o RR"]), above(at["CGL, batch norm by student"], at["w/o RR, batch norm by student"])],
        ),
        Claim(
            "Sub-set data learning is needed: students that all learn from everything do worse",
            where,
            "CGL above CGL without sub-set data learning, by seed",
            [above(at["CGL"], at["w/o SDL"])],
        ),
        Claim(
            "Sub-group imitation is needed: students that imitate all others do worse",
            where,
            "CGL above CGL without sub-group imitation, by seed",
            [above(at["CGL"], at["w/o SGI"])],
        ),
        Claim(
            "Random routing contributes most",
            "Table 4",
            "CGL without random routing below CGL without each of the other two, by seed",
            [above(at["w/o SDL"], at["w/o RR"]), above(at["w/o SGI"], at["w/o RR"])],
        ),
    ]
    notes = [
        "The paper's text reads as if the data were divided once; the default draws the division at every epoch.",
        (
            "Without random routing, each network has batch norm of its own. With routes it is pooled over the samples of all students "
            "in a module, unless it is by student."
        ),
    ]
    return Plan([one], cells, Figure("gains", reference="Baseline"), claims, notes)


STUDY = Study("cgl-table4", "CGL without each of its parts", "Feng et al., AAAI 2021, Table 4", plan)
