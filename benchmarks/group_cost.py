"""The cost of an epoch of CGL relative to the same network trained alone, with the default options and precision.

ResNet-20 on 1 x 28 x 28, the same samples, the same total batch size. K is 2 to 32 students, and each imitates the same expected number of
others: p (K - 1) = 1.75 (at K = 2 p is 1, its maximum, so each student imitates one). Of K = 8: "targets recalled" is `targets=recall`,
"one peer" `select=fixed` with p = 1/8, so that each student imitates exactly one, "memory" `memory=0.5`, for which no target is computed,
and "no imitation" p = 0: what a group costs before any target is made. `studygroup benchmark` measures the same with your data, network
and method.
"""

from __future__ import annotations

from typing import Any

from common import Row, clothes, exact, main, maker, row
from studygroup.commands.benchmark import GROUP_SIZES, with_students
from studygroup.methods import CGL, Baseline
from studygroup.training import Settings
from studygroup.training.timed_trainer import Cost, TimedTrainer, compare

TARGETS = {64: 1.6, 128: 1.4}  # batch size: the most that an epoch may cost
VARIANTS: dict[str, dict[str, Any]] = {
    "targets recalled": {"targets": "recall"},
    "one peer": {"select": "fixed", "probability": 1 / 8},
    "memory": {"memory": 0.5},
    "no imitation": {"probability": 0.0},
}
APART = 1.15  # the most that the costs of different K may differ


def measure(repeats: int, quick: bool) -> list[Row]:
    student = "resnet8" if quick else "resnet20"
    splits = clothes(200 if quick else 5000, 10 if quick else 500, quick=quick)
    sizes = GROUP_SIZES[:3] if quick else GROUP_SIZES
    rows = []
    for batch_size, target in TARGETS.items():
        batch_size = batch_size // 4 if quick else batch_size
        settings = Settings(batch_size=batch_size)
        make = maker(student, splits)
        trainers = [TimedTrainer("alone", Baseline(), make, splits, settings)]
        trainers += [TimedTrainer(f"K = {size}", with_students(CGL(), size), make, splits, settings) for size in sizes]
        trainers += [TimedTrainer(name, CGL(**options), make, splits, settings) for name, options in VARIANTS.items()]
        found, steps = compare(trainers, steps=1 if quick else None, repeats=repeats)
        costs = found[: 1 + len(sizes)]
        for cost in found[1:]:
            wanted = cost.students == CGL().students and cost.name != "no imitation"
            rows.append(cost_row(cost, costs[0], batch_size, steps, target if wanted else None))
        alike = [cost for cost in costs[1:] if cost.students > 2]
        for some, what, bound in ((alike, "p (K - 1) = 1.75", APART), (costs[1:], "all K", None)):
            most, least = max(cost.ratio.value for cost in some), min(cost.ratio.value for cost in some)
            rows.append(exact(f"batch {batch_size}: the most expensive K over the cheapest, {what}", most / least, "x", target=bound))
        largest = max(cost.parameters for cost in costs[1:])
        rows.append(
            exact(
                f"batch {batch_size}: most trained parameters of any K over the student's",
                largest / costs[0].parameters,
                "x",
                target=float(CGL().options()["modules"]),
                details=f"{largest:,} trained parameters; alone {costs[0].parameters:,}",
            )
        )
    return rows


def cost_row(cost: Cost, alone: Cost, batch_size: int, steps: int, target: float | None) -> Row:
    """Make a row of a group's cost relative to the student alone."""
    name = cost.name if cost.name in VARIANTS else f"{cost.name}, p = {with_students(CGL(), cost.students).options()['probability']:.3g}"
    return row(
        f"batch {batch_size}: CGL, {name}",
        cost.ratio,
        target=target,
        details=f"{1000 * cost.seconds_per_step:.1f} ms per step, alone {1000 * alone.seconds_per_step:.1f} ms; {steps} steps per turn",
        figures={"parameters": cost.parameters, "seconds_per_epoch": cost.seconds_per_epoch},
    )


if __name__ == "__main__":
    main(__doc__, measure, repeats=15)
