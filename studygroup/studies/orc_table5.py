"""ORC, Table 5: CIFAR-10, resnet26 to resnet8."""

from __future__ import annotations

from studygroup.studies.contrasts import Claim, above
from studygroup.studies.protocols import orc, orc_epochs, orc_images, panel, printed, taught
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study, rows

ROWS = {  # variant: row, published accuracy
    "teacher": ("Teacher, resnet26", 92.82),
    "baseline": ("Student, resnet8", 86.12),
    "kd": ("Hinton", 86.66),
    "fitnet": ("FitNet", 86.73),
    "at": ("AT", 86.86),
    "fsp": ("FSP", 87.07),
    "bss": ("BSS", 87.32),
    "dml": ("DML", 87.71),
    "kdcl": ("KDCL", 87.48),
    "orc": ("ORC", 88.76),
    "orc-crd": ("ORC, CRD's schedule", None),
}


def plan(setting: Setting) -> Plan:
    """Plan the study."""
    epochs = orc_epochs(setting.scale)
    variants = {
        "teacher": {"method": "baseline", "student": "resnet26"},
        "baseline": {"method": "baseline"},
        **taught(["kd", "fitnet", "at", "fsp", "bss"]),
        "dml": {"method": "dml", "peers": ["resnet26"]},
        "kdcl": {"method": "kdcl", "peers": ["resnet14", "resnet20", "resnet26"]},
        "orc": {**orc(), "peers": ["resnet20", "resnet14"], **printed(epochs)},
        "orc-crd": {**orc(), "peers": ["resnet20", "resnet14"]},
    }
    one = panel(orc_images(setting, "resnet8", "cifar10", epochs=epochs), variants)
    cells = [
        Cell(row, one.title, one.name, name, "member:student0", published=told, stands_for="CIFAR-10, resnet8")
        for name, (row, told) in ROWS.items()
    ]
    at = {row: columns[one.title] for row, columns in rows(cells).items()}
    others = [row for name, (row, _) in ROWS.items() if name not in ("teacher", "orc", "orc-crd")]
    claims = [
        Claim(
            "ORC is better than all other methods",
            "CIFAR-10, Table 5",
            "ORC above each other row, by seed",
            [above(at["ORC"], at[row]) for row in others],
        ),
        Claim(
            "ORC is better than all other methods, at the schedule that the others have",
            "CIFAR-10, Table 5",
            "ORC with CRD's schedule above each other row, by seed",
            [above(at["ORC, CRD's schedule"], at[row]) for row in others],
        ),
    ]
    notes = [
        (
            "By which protocol the other rows were trained, and with which networks DML and KDCL, the paper does not say: here the CRD "
            "protocol, two networks for DML and all four for KDCL."
        ),
        "Accuracies are those of resnet8 after the last epoch; nothing is held out.",
    ]
    return Plan([one], cells, Figure("gains", reference="Student, resnet8"), claims, notes)


STUDY = Study(
    "orc-table5", "ORC and other methods, resnet26 to resnet8", "Choi et al., arXiv:2206.01186, Table 5", plan, fixed_networks=True
)
