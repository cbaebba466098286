"""ORC, Table 7: teacher and student of different styles."""

from __future__ import annotations

from studygroup.studies.orc_pairs import Pair, pairs_plan
from studygroup.studies.study import Plan, Setting, Study

PAIRS = {
    "paper": (
        Pair("vgg13", "mobilenetv2", (), 0),
        Pair("resnet50", "mobilenetv2", (), 1),
        Pair("resnet50", "vgg8", (), 2),
        Pair("resnet32x4", "shufflenetv1", (), 3),
        Pair("resnet32x4", "shufflenetv2", (), 4),
        Pair("wrn_40_2", "shufflenetv1", (), 5),
    ),
    "small": (Pair("wrn_16_2", "resnet8", (), 5), Pair("resnet20", "wrn_16_1", (), 2)),
    "tiny": (Pair("wrn_16_1", "resnet8", (), 5),),
}
PUBLISHED = {
    "teacher": (74.64, 79.34, 79.34, 79.42, 79.42, 75.61),
    "baseline": (64.60, 64.60, 70.36, 70.50, 71.82, 70.50),
    "kd": (67.37, 67.35, 73.81, 74.07, 74.45, 74.83),
    "fitnet": (64.14, 63.16, 70.69, 73.59, 73.54, 73.73),
    "at": (59.40, 58.58, 71.84, 71.73, 72.73, 73.32),
    "sp": (66.30, 68.08, 73.34, 73.48, 74.56, 74.52),
    "cc": (64.86, 65.43, 70.25, 71.14, 71.29, 71.38),
    "vid": (65.56, 67.57, 70.30, 73.38, 73.40, 73.61),
    "rkd": (64.52, 64.43, 71.50, 72.28, 73.21, 72.21),
    "pkt": (67.13, 66.52, 73.01, 74.10, 74.69, 73.89),
    "ab": (66.06, 67.20, 70.65, 73.55, 74.31, 73.34),
    "ft": (61.78, 60.99, 70.29, 71.75, 72.50, 72.03),
    "nst": (58.16, 64.96, 71.28, 74.12, 74.68, 74.89),
    "crd": (69.73, 69.11, 74.30, 75.11, 75.65, 76.05),
    "kdcl": (67.45, 67.64, 73.03, 74.32, 75.35, 74.79),
    "srrl": (69.14, 69.45, 74.46, 75.66, 76.40, 76.61),
    "orc": (69.7, 69.63, 74.65, 76.60, 76.84, 76.56),
}
SECOND_BEST = (0, 5)


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    return pairs_plan(setting, PAIRS, PUBLISHED, SECOND_BEST)


STUDY = Study(
    "orc-table7",
    "ORC in the CRD benchmark, networks of different styles",
    "Choi et al., arXiv:2206.01186, Table 7",
    plan,
    fixed_networks=True,
)
