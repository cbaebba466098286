"""CGL, Figure 6: accuracy under noise on the parameters."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, Contrast
from studygroup.studies.protocols import GROUP_NAMES, cgl_images, groups, panel
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

ABSOLUTE, RELATIVE = "Accuracy under noise", "Accuracy under noise relative to each tensor"
SIGMAS: dict[bool, dict[str, tuple[float, ...]]] = {  # whether the scale is tiny: block: sigmas
    True: {ABSOLUTE: (0.0, 0.05), RELATIVE: (0.0, 0.2)},
    False: {ABSOLUTE: (0.0, 0.01, 0.02, 0.03, 0.04, 0.05), RELATIVE: (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)},
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    sigmas = SIGMAS[setting.scale == "tiny"]
    one = panel(cgl_images(setting), groups(3, 0.25))
    cells = [
        Cell(GROUP_NAMES[name], f"{sigma:g}", one.name, name, f"{measure}:{sigma:g}", block, x=sigma)
        for block, measure in ((ABSOLUTE, "noise"), (RELATIVE, "relative_noise"))
        for name in one.variants
        for sigma in sigmas[block]
    ]
    claims = []
    for block in sigmas:
        drops = {name: drop(list(row.values()), name) for name, row in rows(cells, block).items()}
        claims.append(
            Claim(
                "The accuracy of the other methods declines faster than CGL's" + (", relative noise" if block == RELATIVE else ""),
                "Model Generalization Analysis, Figure 6",
                "the mean loss of accuracy over all sigmas above 0, of each other method above CGL's, by seed",
                [
                    Contrast(f"{name} loses more than CGL", [*other.weights, *((key, -weight) for key, weight in drops["CGL"].weights)])
                    for name, other in drops.items()
                    if name != "CGL"
                ],
            )
        )
    notes = ["Five draws of the noise, the same for all methods. The paper's sigmas and draws are not said."]
    return Plan([one], cells, Figure("lines", x_label="standard deviation of the noise|its ratio to a tensor's"), claims, notes)


def drop(cells: list[Cell], name: str) -> Contrast:
    """Return the mean loss of accuracy over all sigmas above 0; the first cell is without noise."""
    first, *others = cells
    return Contrast(f"loss of {name}", [(first.key, 1.0), *((cell.key, -1 / len(others)) for cell in others)])


STUDY = Study("cgl-figure6", "Accuracy under noise on the parameters", "Feng et al., AAAI 2021, Figure 6", plan)
