"""ORC, Table 1: the number of temporary teachers."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, above, all_above
from studygroup.studies.orc_ablation import MEMBERS, NOTES, OURS, ablation, over_baseline
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

ROLES = "Roles"
VARIANTS = {
    "k = 0": ("no-temporary", {"temporary_teachers": 0}, (73.78, 75.03, 73.81, 70.98)),
    "k = 1": ("orc", {}, OURS),
    "k = 2": ("two-temporary", {"temporary_teachers": 2}, (74.07, 75.12, 74.06, 71.22)),
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    one, cells, table = ablation(setting, VARIANTS)
    *_, first, second, deployed = table["k = 1"]
    promoted = [
        Cell(row, column, one.name, VARIANTS[row][0], f"promoted:{student}", ROLES)
        for row in ("k = 1", "k = 2")
        for column, student in zip((first, second, deployed), MEMBERS[1:], strict=True)
    ]
    roles = rows(promoted, ROLES)["k = 2"]
    where = "The number of temporary teachers, Table 1"
    claims = [
        Claim(
            "One temporary teacher is best",
            where,
            "k = 1 above k = 0 and above k = 2, for each of the four networks, by seed",
            [*all_above(table["k = 1"], table["k = 0"]), *all_above(table["k = 1"], table["k = 2"])],
        ),
        Claim(
            "With one temporary teacher all networks gain over the baseline",
            where,
            "k = 1 above the baseline, for each of the four networks, by seed",
            over_baseline(table, "k = 1"),
        ),
        Claim(
            "Without a temporary teacher nobody bridges the gap to the pivot: the smallest network gains less",
            where,
            "k = 1 above k = 0 for the smallest network, by seed",
            [above(table["k = 1"][deployed], table["k = 0"][deployed])],
        ),
        Claim(
            "Two temporary teachers transfer false knowledge: performance decreases",
            where,
            "k = 1 above k = 2 for the smallest network, by seed",
            [above(table["k = 1"][deployed], table["k = 2"][deployed])],
        ),
        Claim(
            "The smallest network stays among the students in the mid-to-late epochs",
            where,
            "with k = 2, the part of the batches of the second half of the epochs in which the others are promoted, above that of the "
            "smallest, by seed",
            [above(roles[column], roles[deployed], f"{column} is promoted more often than {deployed}") for column in (first, second)],
        ),
    ]
    return Plan([one], [*cells, *promoted], Figure("gains", reference="Baseline"), claims, NOTES)


STUDY = Study("orc-table1", "ORC's number of temporary teachers", "Choi et al., arXiv:2206.01186, Table 1", plan, fixed_networks=True)
