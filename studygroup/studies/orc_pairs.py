"""What ORC's Tables 6 and 7 have in common: the CRD benchmark's methods, KDCL, SRRL and ORC, for pairs of teacher and student.

The numbers of all rows down to CRD are those of the CRD benchmark (Tian et al., ICLR 2020, Tables 1 and 2), digit for digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studygroup.studies.contrasts import Claim, above
from studygroup.studies.protocols import orc, orc_epochs, orc_images, panel, printed, taught, title
from studygroup.studies.study import Cell, Figure, Panel, Plan, Setting, rows

TITLES = {
    "teacher": "Teacher",
    "baseline": "Student",
    "kd": "Hinton",
    "fitnet": "FitNet",
    "at": "AT",
    "sp": "SP",
    "cc": "CC",
    "vid": "VID",
    "rkd": "RKD",
    "pkt": "PKT",
    "ab": "AB",
    "ft": "FT",
    "fsp": "FSP",
    "nst": "NST",
    "crd": "CRD",
    "kdcl": "KDCL",
    "srrl": "SRRL",
    "orc": "ORC",
    "orc-crd": "ORC, CRD's schedule",
}
METHODS = [name for name in TITLES if name not in ("teacher", "baseline", "kdcl", "orc", "orc-crd")]
SLOW = ("mobilenetv2", "shufflenetv1", "shufflenetv2")
"""Students that start at a learning rate of .01 in the CRD protocol, and of .1 by ORC's text."""
Published = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Pair:
    """A teacher, or pivot, and a student.

    Attributes:
        teacher: network.
        student: network that is deployed.
        between: ORC's other students; three copies of the student without.
        paper: the pair whose published numbers stand beside it, as its place in the paper's table.
        equal_widths: whether fsp fits.
    """

    teacher: str
    student: str
    between: Sequence[str] = ()
    paper: int = 0
    equal_widths: bool = False

    def variants(self, epochs: int) -> dict[str, dict[str, Any]]:
        """Return the variants of a pair."""
        slow = self.student in SLOW
        usual = {"learning_rate": 0.05} if slow else {}
        apart = {"learning_rate_scales": {"student1": 5.0}} if slow else {}  # the teacher's network learns at its own rate, here, too
        factors = ({"pivot_lr_scale": 0.05}, {"pivot_lr_scale": 0.5}) if slow else ({}, {})  # .005 for the pivot, as everywhere
        peers = {"peers": list(self.between)} if self.between else {}
        return {
            "teacher": {"method": "baseline", "student": self.teacher, **usual},
            "baseline": {"method": "baseline"},
            **taught([name for name in METHODS if name != "fsp" or self.equal_widths]),
            **({"ft": {"method": {"name": "ft", "initial_learning_rate": 0.05}, "teacher": "teacher"}} if self.student == "vgg8" else {}),
            "kdcl": {"method": "kdcl", "peers": [self.teacher], **apart},
            "orc": {**orc(**factors[0]), **peers, **({"learning_rate": 0.1} if slow else {}), **printed(epochs)},
            "orc-crd": {**orc(**factors[1]), **peers},
        }


def pairs_plan(setting: Setting, pairs: Mapping[str, Sequence[Pair]], published: Published, exceptions: Sequence[int]) -> Plan:
    """Plan a study of pairs.

    Args:
        setting: of the study.
        pairs: by scale; those of `paper` in the order of the published numbers.
        published: by variant.
        exceptions: places of pairs in which the paper does not claim to be best.
    """
    epochs = orc_epochs(setting.scale, many=True)
    chosen = pairs[setting.scale]
    panels = [pair_panel(setting, pair, epochs) for pair in chosen]
    cells = [
        Cell(
            TITLES[name],
            one.title,
            one.name,
            name,
            "member:student0",
            published=published[name][pair.paper] if name in published else None,
            stands_for=title("cifar100", "{0.teacher} to {0.student}".format(pairs["paper"][pair.paper])),
        )
        for one, pair in zip(panels, chosen, strict=True)
        for name in one.variants
    ]
    table = rows(cells)
    best = [one.title for one, pair in zip(panels, chosen, strict=True) if setting.scale != "paper" or pair.paper not in exceptions]
    others = [row for row in table if row not in ("Teacher", TITLES["orc"], TITLES["orc-crd"])]
    claims = [
        Claim(
            f"{name} is better than all other methods" + ("" if name == "ORC" else ", at the schedule that the others have"),
            "Comparison with the common KD methods",
            "ORC above each other row, in every column"
            + (", without those in which the paper is not best" if exceptions else "")
            + ", by seed",
            [above(table[name][column], table[row][column]) for row in others for column in best if column in table[row]],
        )
        for name in (TITLES["orc"], TITLES["orc-crd"])
    ]
    notes = [
        (
            "All rows but ORC have the CRD protocol's schedule (milestones 150, 180, 210 of 240 epochs; .01 for MobileNetV2 and the "
            "ShuffleNets); ORC the one that the paper prints (100, 150, 210; .1): the gap mixes method and "
            "schedule. ORC, CRD's schedule is not published."
        ),
        "Accuracies are those of the student after the last epoch; nothing is held out.",
        (
            "KDCL's published row is a public reimplementation's best epoch on the test set; 67.73 for wrn_40_2 to wrn_16_2 is of a "
            "wrn_16_1. FSP needs equal widths. SRRL's weights for small images are not published: the method's own."
        ),
        "The networks between are the paper's for resnet56 to resnet20; it does not name the others, which are our choice.",
    ]
    if setting.scale == "small":
        notes.append(
            "Scale small trains for 100 epochs: less than the student alone needs to stop gaining; read differences as of a short schedule."
        )
    return Plan(panels, cells, Figure("gains", reference="Student"), claims, notes)


def pair_panel(setting: Setting, pair: Pair, epochs: int) -> Panel:
    """Return the runs of a pair."""
    options = orc_images(setting, pair.student, epochs=epochs, rate=0.01 if pair.student in SLOW else 0.05)
    titled = title(str(options["data"]), f"{pair.teacher} to {pair.student}")
    return panel(options, pair.variants(epochs), name=f"{pair.teacher}-{pair.student}", titled=titled)
