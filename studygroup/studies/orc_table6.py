"""ORC, Table 6: teacher and student of one style."""

from __future__ import annotations

from studygroup.studies.orc_pairs import Pair, pairs_plan
from studygroup.studies.study import Plan, Setting, Study

PAIRS = {
    "paper": (
        Pair("wrn_40_2", "wrn_16_2", (), 0, equal_widths=True),
        Pair("wrn_40_2", "wrn_40_1", ("wrn_16_2", "wrn_40_1"), 1),
        Pair("resnet56", "resnet20", ("resnet44", "resnet32"), 2, equal_widths=True),
        Pair("resnet110", "resnet20", ("resnet56", "resnet32"), 3, equal_widths=True),
        Pair("resnet110", "resnet32", ("resnet56", "resnet44"), 4, equal_widths=True),
        Pair("resnet32x4", "resnet8x4", (), 5, equal_widths=True),
        Pair("vgg13", "vgg8", ("vgg11", "vgg8"), 6, equal_widths=True),
    ),
    "small": (Pair("resnet26", "resnet8", ("resnet20", "resnet14"), 2, equal_widths=True), Pair("wrn_16_2", "wrn_16_1", (), 1)),
    "tiny": (Pair("resnet14", "resnet8", (), 2, equal_widths=True),),
}
PUBLISHED = {
    "teacher": (75.61, 75.61, 72.34, 74.31, 74.31, 79.42, 74.64),
    "baseline": (73.26, 71.98, 69.06, 69.06, 71.14, 72.50, 70.36),
    "kd": (74.92, 73.54, 70.66, 70.67, 73.08, 73.33, 72.98),
    "fitnet": (73.58, 72.24, 69.21, 68.99, 71.06, 73.50, 71.02),
    "at": (74.08, 72.77, 70.55, 70.22, 72.31, 73.44, 71.43),
    "sp": (73.83, 72.43, 69.67, 70.04, 72.69, 72.94, 72.68),
    "cc": (73.56, 72.21, 69.63, 69.48, 71.48, 72.97, 70.71),
    "vid": (74.11, 73.30, 70.38, 70.16, 72.61, 73.09, 71.23),
    "rkd": (73.35, 72.22, 69.61, 69.25, 71.82, 71.90, 71.48),
    "pkt": (74.54, 73.45, 70.34, 70.25, 72.61, 73.64, 72.88),
    "ab": (72.50, 72.38, 69.47, 69.53, 70.98, 73.17, 70.94),
    "ft": (73.25, 71.59, 69.84, 70.22, 72.37, 72.86, 70.58),
    "fsp": (72.91, None, 69.95, 70.11, 71.89, 72.62, 70.23),  # ORC's table has 0.00 where fsp does not fit
    "nst": (73.68, 72.24, 69.60, 69.53, 71.96, 73.30, 71.53),
    "crd": (75.48, 74.14, 71.16, 71.46, 73.48, 75.51, 73.94),
    "kdcl": (67.73, 73.12, 70.58, 70.36, 72.67, 74.03, 72.94),
    "srrl": (75.96, 74.75, 71.44, 71.51, 73.80, 75.92, 74.40),
    "orc": (76.4, 75.34, 72.07, 71.6, 74.46, 75.00, 74.68),
}
THIRD_BEST = (5,)


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    return pairs_plan(setting, PAIRS, PUBLISHED, THIRD_BEST)


STUDY = Study(
    "orc-table6", "ORC in the CRD benchmark, networks of one style", "Choi et al., arXiv:2206.01186, Table 6", plan, fixed_networks=True
)
