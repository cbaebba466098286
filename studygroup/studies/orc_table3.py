"""ORC, Table 3: teachers one by one, or their ensemble."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, all_above
from studygroup.studies.orc_ablation import NOTES, OURS, ablation, over_baseline
from studygroup.studies.study import Figure, Plan, Setting, Study

VARIANTS = {
    "Ensemble logit": ("ensemble", {"style": "ensemble"}, (73.72, 74.55, 73.78, 71.56)),
    "Individual logit": ("orc", {}, OURS),
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    one, cells, table = ablation(setting, VARIANTS)
    where = "Style of group teaching, Table 3"
    claims = [
        Claim(
            "The individual style is best in all networks",
            where,
            "the individual style above the ensemble, for each of the four networks, by seed",
            all_above(table["Individual logit"], table["Ensemble logit"]),
        ),
        *(
            Claim(f"{row}: all networks gain over the baseline", where, "each of the four networks, by seed", over_baseline(table, row))
            for row in VARIANTS
        ),
    ]
    return Plan([one], cells, Figure("gains", reference="Baseline"), claims, NOTES)


STUDY = Study("orc-table3", "ORC's style of group teaching", "Choi et al., arXiv:2206.01186, Table 3", plan, fixed_networks=True)
