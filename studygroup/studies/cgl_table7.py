"""CGL, Table 7: whether a structure of parameter sharing that is good on one data set is good on another."""

from __future__ import annotations

from typing import Any

from studygroup.studies.contrasts import BestOf, Claim, RankCorrelation
from studygroup.studies.protocols import cgl, cgl_images, panel
from studygroup.studies.study import Cell, Figure, Plan, Setting, Study

FIRST = (94.55, 94.50, 94.46, 94.48, 94.45, 94.53, 94.63, 94.45)
"""Published accuracies of eight structures on CIFAR-10."""
SECOND = {1: 77.94, 6: 77.97, 7: 78.15}
"""Published accuracies of the best three of them on CIFAR-100; the other five there are new ones."""
SECOND_DATA: dict[str, dict[str, Any]] = {
    "tiny": {"image_size": 14},
    "small": {"data": "digits", "augment": "crop", "train_size": 800, "holdout": 200},
}


def plan(setting: Setting) -> Plan:
    """Plan the study: each structure is the routes that a seed of its own draws, whatever the seed of the run."""
    numbers = range(1, 5) if setting.scale == "tiny" else range(1, 9)
    variants = {f"structure-{number}": cgl(route_seed=number) for number in numbers}
    if setting.scale == "paper":
        first, second = cgl_images(setting, data="cifar10"), cgl_images(setting)
    else:
        first = cgl_images(setting)
        second = {**first, **SECOND_DATA[setting.scale]}
    panels = [panel(first, variants, name="first"), panel(second, variants, name="second")]
    names = [one.title if one.title != panels[1 - place].title else f"{one.title} ({one.name})" for place, one in enumerate(panels)]
    told = [dict(enumerate(FIRST, start=1)), SECOND]
    cells = [
        Cell(
            f"{number}",
            name,
            one.name,
            f"structure-{number}",
            measure,
            block,
            published=paper.get(number) if not block else None,
            stands_for=told_on,
        )
        for block, measure in (("", "test"), ("Hold-out", "holdout"))
        for one, name, paper, told_on in zip(panels, names, told, ("CIFAR-10", "CIFAR-100"), strict=True)
        for number in numbers
    ]
    on = {
        (cell.block, cell.column): [other.key for other in cells if (other.block, other.column) == (cell.block, cell.column)]
        for cell in cells
    }
    claims = [
        Claim(
            "The best structures on one data set are the best on another",
            "Impact of Parameter Sharing, Table 7",
            "Spearman's correlation of the structures' mean accuracies on the two data sets is above 0",
            [RankCorrelation("rank correlation", on["", names[0]], on["", names[1]])],
            "",
        ),
        Claim(
            "A structure that is chosen on one data set can be applied to another",
            "Impact of Parameter Sharing, Table 7",
            "the mean accuracy on the second data set of the best structures (three of eight) by the hold-out of the first one, above the "
            "mean of the others, by seed",
            [
                BestOf(
                    "the chosen structures above the others",
                    on["Hold-out", names[0]],
                    on["", names[1]],
                    1 if setting.scale == "tiny" else 3,
                )
            ],
        ),
    ]
    notes = [
        "The paper's structures are not published: its accuracies are of other ones, beside ours by their number.",
        "All structures are trained on both data sets. The paper trains the best three of the first on the second, beside five new ones.",
    ]
    return Plan(panels, cells, Figure("scatter"), claims, notes)


STUDY = Study("cgl-table7", "Whether structures of sharing transfer between data sets", "Feng et al., AAAI 2021, Table 7", plan)
