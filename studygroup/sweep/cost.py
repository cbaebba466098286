"""The cost of variants in floating-point operations, all stages of a method included."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from studygroup.data.progress import progress_bar
from studygroup.errors import TrainingError, UserError
from studygroup.options import RunOptions
from studygroup.pipeline.setup import method_of, open_splits, plan_stages, settings_of, with_stems
from studygroup.pipeline.stages import Stage, dry_run, network_factory
from studygroup.sweep.variants import Variant, seeded
from studygroup.training.flops import TrainingCost, training_cost

COST = {field.name for field in fields(TrainingCost)}


def find_costs(wanted: Sequence[Variant], before: Mapping[str, Any], *, variants: Sequence[Variant], show: bool) -> dict[str, TrainingCost]:
    """Return the cost of each variant by name; one whose loss is not finite has none, and will fail.

    Args:
        wanted: to measure.
        before: manifest of an earlier comparison, whose costs are used again.
        variants: all of the comparison, with the teachers of the wanted ones.
        show: show a progress bar.
    """
    known = {json.dumps(old["options"] | {"epochs": 0}, sort_keys=True): old for old in before.get("variants", ())}
    costs = {}
    with progress_bar("Measuring the cost of a step", len(wanted), "samples", show=show) as advance:
        for variant in wanted:
            old = known.get(json.dumps({**variant.options.plain(), "epochs": 0}, sort_keys=True), {})
            if old.keys() >= COST:
                costs[variant.name] = TrainingCost(**{name: old[name] for name in COST})
            else:
                with contextlib.suppress(TrainingError):
                    costs[variant.name] = measure(variant, variants)
            advance(1)
    return costs


def measure(variant: Variant, variants: Sequence[Variant]) -> TrainingCost:
    """Count the operations of steps of all stages of a variant; a teacher that is still to be trained is used untrained.

    The training of a teacher is a variant of its own, and not included.

    Raises:
        UserError: the variant cannot be trained.
        TrainingError: a loss is not finite.
    """
    options = seeded(variant, variants, 0)
    try:
        method = method_of(options)
        settings = replace(settings_of(options), compile=False, tensorboard=False)
        stages = plan_stages(options, method, settings)
        splits = open_splits(options)
        stages = with_stems(stages, options.stem, splits.dataset)
        untrained = dry_run(stages, splits)
        own = own_stages(stages)
        costs = [training_cost(stage.method, network_factory(stage, splits, untrained), splits, stage.settings) for stage in own]
        lengths = [stage.settings.epochs for stage in own]
        twice = own_stages(plan_stages(options, method, replace(settings, epochs=2 * settings.epochs)))
        # Epochs that each stage gets for one more of the run: 1 if it has as many as the run, 0 if it has a number of its own.
        growth = [(later.settings.epochs - length) / settings.epochs for later, length in zip(twice, lengths, strict=True)]
        per_epoch, before = 0.0, 0.0
        for cost, length, more in zip(costs, lengths, growth, strict=True):
            per_epoch += cost.flops_per_epoch * more
            before += cost.flops_per_epoch * (length - more * settings.epochs)
        return TrainingCost(per_epoch / costs[-1].samples_per_epoch, costs[-1].samples_per_epoch, before)
    except UserError as error:
        raise UserError(f"{variant.name}: {error}") from error


def own_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages of the requested method, which have its label, without the training of its teacher."""
    return [stage for stage in stages if stage.label == stages[-1].label]


def total_epochs(options: RunOptions) -> int:
    """Return the number of epochs of all stages of a run's method together."""
    return sum(stage.settings.epochs for stage in own_stages(plan_stages(options, method_of(options), settings_of(options))))
