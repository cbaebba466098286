"""ORC, Table 2: intensive teaching of the pivot, and what it is fed."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, all_above
from studygroup.studies.orc_ablation import NOTES, OURS, ablation, over_baseline
from studygroup.studies.study import Figure, Plan, Setting, Study

FROZEN, MIXUP, FEEDBACK, BOTH = "not taught", "mix-up of the batch", "feedback, not mixed", "batch mixed with feedback"
VARIANTS = {
    FROZEN: ("frozen-pivot", {"intensive": "off"}, (72.34, 74.48, 73.27, 71.11)),
    MIXUP: ("plain-mixup", {"intensive": "mixup"}, (74.07, 74.96, 74.13, 71.03)),
    FEEDBACK: ("no-mixing", {"intensive": "feedback"}, (73.63, 74.52, 73.87, 71.38)),
    BOTH: ("orc", {}, OURS),
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    one, cells, table = ablation(setting, VARIANTS)
    where = "Type of augmentation for intensive teaching, Table 2"
    students = {row: dict(list(columns.items())[1:]) for row, columns in table.items()}
    claims = [
        Claim(
            "Intensive teaching helps: a pivot that is not taught is worse for all students",
            where,
            "the proposed form above a pivot that is not taught, for each of the three students, by seed",
            all_above(students[BOTH], students[FROZEN]),
        ),
        Claim(
            "It performs best with the proposed feedback-based augmentation",
            where,
            "the proposed form above mix-up and above feedback alone, for each of the four networks, by seed",
            [*all_above(table[BOTH], table[MIXUP]), *all_above(table[BOTH], table[FEEDBACK])],
        ),
        Claim(
            "Students gain over the baseline even without intensive teaching",
            where,
            "a pivot that is not taught: each of the three students above the baseline, by seed",
            all_above(students[FROZEN], students["Baseline"]),
        ),
        Claim("The proposed form gains over the baseline", where, "each of the four networks, by seed", over_baseline(table, BOTH)),
    ]
    return Plan([one], cells, Figure("gains", reference="Baseline"), claims, NOTES)


STUDY = Study("orc-table2", "What teaches ORC's pivot", "Choi et al., arXiv:2206.01186, Table 2", plan, fixed_networks=True)
