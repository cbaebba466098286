"""What ORC's Tables 1 to 3 have in common: a pivot and three students of one family, and the accuracy of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studygroup.studies.contrasts import Contrast, all_above
from studygroup.studies.protocols import orc, orc_epochs, orc_images, panel, printed
from studygroup.studies.study import Cell, Panel, Setting, rows

PAPER = ("resnet56", "resnet44", "resnet32", "resnet20")
SMALLER = ("resnet26", "resnet20", "resnet14", "resnet8")
MEMBERS = ("pivot", "student1", "student2", "student0")
BASELINE, OURS = "Baseline", (74.55, 75.17, 74.25, 72.07)
ALONE = (72.34, 70.53, 70.11, 69.53)
Rows = Mapping[str, tuple[str, Mapping[str, Any], Sequence[float]]]
"""Row -> variant, options of ORC, published accuracies of pivot and students."""
NOTES = [
    "Accuracies are those of the last epoch; nothing is held out. The paper does not say which epoch its numbers are of.",
    "ORC has the milestones that the paper prints, the networks alone those of the CRD protocol.",
    "resnet20 and resnet32 alone are 69.53 and 70.11 in these tables, 69.06 and 71.14 in Table 6.",
]


def ablation(setting: Setting, variants: Rows) -> tuple[Panel, list[Cell], dict[str, dict[str, Cell]]]:
    """Return runs, cells, and the cells by row and column: the networks alone, and ORC in several forms."""
    networks = PAPER if setting.scale == "paper" else SMALLER
    pivot, first, second, student = networks
    epochs = orc_epochs(setting.scale)
    alone = {"teacher": pivot, "first": first, "second": second, "baseline": student}
    runs: dict[str, Mapping[str, Any]] = {name: {"method": "baseline", "student": network} for name, network in alone.items()}
    runs |= {name: {**orc(**options), "peers": [first, second], **printed(epochs)} for name, options, _ in variants.values()}
    one = panel(orc_images(setting, student, epochs=epochs), runs)
    titles = [f"{network}{role}" for network, role in zip(networks, (", pivot", "", "", ", deployed"), strict=True)]
    told = [f"{network}{role}" for network, role in zip(PAPER, (", pivot", "", "", ", deployed"), strict=True)]
    cells = [
        Cell(BASELINE, title, one.name, name, "member:student0", published=number, stands_for=paper)
        for title, name, number, paper in zip(titles, alone, ALONE, told, strict=True)
    ]
    cells += [
        Cell(row, title, one.name, name, f"member:{member}", published=number, stands_for=paper)
        for row, (name, _, numbers) in variants.items()
        for title, member, number, paper in zip(titles, MEMBERS, numbers, told, strict=True)
    ]
    return one, cells, rows(cells)


def over_baseline(table: Mapping[str, Mapping[str, Cell]], row: str) -> list[Contrast]:
    """State that every network of a row is better than alone."""
    return all_above(table[row], table[BASELINE])
