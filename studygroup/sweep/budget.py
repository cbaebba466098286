"""Equal compute: as many epochs for each variant as cost what the baseline's training costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from studygroup.errors import TrainingError, UserError
from studygroup.options import CompareOptions
from studygroup.pipeline.setup import epochs_of
from studygroup.sweep.variants import Variant
from studygroup.training.flops import TrainingCost

WORTH = 1.25
"""Cost over the baseline's from which on a method at equal epochs is compared with the baseline at equal compute, too."""


def affordable(budget: float, per_epoch: float) -> int:
    """Return the number of whole epochs that a budget pays for, at least one; both in the same unit."""
    return max(int(budget / per_epoch * (1 + 1e-9)), 1)  # rounding must not lose an epoch of an even division


def control_of(variants: Sequence[Variant], reference: str, costs: Mapping[str, TrainingCost], options: CompareOptions) -> Variant | None:
    """Return the control of methods at equal epochs: the baseline at the compute of the costliest; None where it says nothing.

    Recipes with variants of their own choose their own controls.
    """
    if not options.control or options.budget != "equal-epochs" or options.variants or reference not in costs:
        return None
    alone = next(variant for variant in variants if variant.name == reference)
    others = [variant for variant in variants if variant is not alone and not variant.teaches and variant.name in costs]
    most = max((costs[variant.name].flops(epochs_of(variant.options)) for variant in others), default=0.0)
    epochs = affordable(most, costs[reference].flops_per_epoch)
    if epochs < WORTH * epochs_of(alone.options):
        return None
    return replace(alone, name=f"{reference}-{epochs}", options=alone.options.stretched(epochs))


def within_budget(variants: Sequence[Variant], reference: str, costs: Mapping[str, TrainingCost], options: CompareOptions) -> list[Variant]:
    """Return the variants with the epochs that they get; the baseline and teachers keep theirs.

    Raises:
        UserError: the cost of a teacher should count and is not known.
    """
    if options.budget == "equal-epochs":
        return list(variants)
    by_name = {variant.name: variant for variant in variants}

    def cost(variant: Variant) -> float:
        return costs[variant.name].flops(epochs_of(variant.options)) + (teacher_cost(variant) if variant.teachers else 0.0)

    def teacher_cost(variant: Variant) -> float:
        if not options.count_teacher:
            return 0.0
        for given, name in zip(variant.options.teachers, variant.taught_by, strict=True):
            if name is None:
                raise UserError(
                    f"count_teacher: the cost of training {given} is not known; "
                    "give the teacher as a network, which is trained first, or do not count it"
                )
        return sum(cost(by_name[name]) for name in variant.teachers)

    fixed = {reference, *(variant.name for variant in variants if variant.teaches)}
    if reference not in costs:
        raise TrainingError(f"the loss of {reference} is not finite after a few steps; try a lower learning rate")
    budget = cost(by_name[reference])

    def resized(variant: Variant) -> Variant:
        if variant.name in fixed or variant.name not in costs:
            return variant
        own = costs[variant.name]
        epochs = affordable(max(budget - teacher_cost(variant) - own.flops_before, 0.0), own.flops_per_epoch)
        return replace(variant, options=variant.options.stretched(epochs))

    return [resized(variant) for variant in variants]
