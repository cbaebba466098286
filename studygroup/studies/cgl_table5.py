"""CGL, Table 5: how long the imitation ramps up."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, above
from studygroup.studies.protocols import cgl, cgl_images, panel
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study

PUBLISHED = {0: 77.79, 20: 78.01, 40: 77.22, 80: 77.10}
"""Per cent of the epochs: accuracy."""


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    variants = {f"ramp-{share}": cgl(ramp_share=share / 100) for share in PUBLISHED}
    one = panel(cgl_images(setting), variants)
    at = {
        share: Cell("CGL", f"{share}%", one.name, f"ramp-{share}", x=share, published=told, stands_for=f"{share}%")
        for share, told in PUBLISHED.items()
    }
    claims = [
        Claim(
            "A ramp alleviates homogenisation: a short one is better than none",
            "Ablation Study, Table 5",
            "a ramp over 20% of the epochs above none, by seed",
            [above(at[20], at[0])],
        ),
        Claim(
            "Too long a ramp weakens the transfer of knowledge",
            "Ablation Study, Table 5",
            "a ramp over 20% of the epochs above 40% and above 80%, by seed",
            [above(at[20], at[40]), above(at[20], at[80])],
        ),
    ]
    return Plan([one], list(at.values()), Figure("lines", x_label="ramp, % of the epochs"), claims)


STUDY = Study("cgl-table5", "How long CGL's imitation ramps up", "Feng et al., AAAI 2021, Table 5", plan)
