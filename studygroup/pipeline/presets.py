"""Presets: recipes by kind and size of the data, for all options that are not given. LOG.md has the studies behind their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from studygroup.options import RunOptions


@dataclass(frozen=True)
class Preset:
    """What a preset chooses for one kind of data.

    Attributes:
        samples: that the network is trained on in all; it decides the number of epochs.
        fewest: epochs at least.
        most: epochs at most.
        augment: augmentation.
    """

    samples: int
    fewest: int
    most: int
    augment: str = "auto"

    def epochs(self, count: int) -> int:
        """Return the number of epochs for a number of training samples."""
        return min(max(round(self.samples / max(count, 1)), self.fewest), self.most)


IMAGES: Mapping[str, Preset] = {
    "quick": Preset(160_000, 5, 60, "light"),
    "balanced": Preset(500_000, 15, 200, "medium"),
    "best": Preset(2_000_000, 50, 600, "medium"),
    "none": Preset(0, 100, 100),
}
TEXTS: Mapping[str, Preset] = {
    "quick": Preset(50_000, 3, 25),
    "balanced": Preset(100_000, 5, 50),
    "best": Preset(200_000, 10, 100),
    "none": Preset(100_000, 5, 50),
}


def with_preset(options: RunOptions, *, texts: bool, count: Callable[[], int]) -> RunOptions:
    """Fill in what the preset chooses.

    Args:
        options: of a run; those that are given stay.
        texts: whether the data are texts; otherwise images.
        count: returns the number of training samples; only called if it matters.
    """
    preset = (TEXTS if texts else IMAGES)[options.preset]
    augment = preset.augment if options.augment == "auto" else options.augment
    fixed = preset.fewest == preset.most
    epochs = options.epochs or preset.epochs(0 if fixed else count())
    return replace(options, epochs=epochs, augment=augment)


def describe_recipe(options: RunOptions) -> str:
    """Return the recipe of a run with everything filled in, in one line; what is off is left out."""
    parts = [
        f"{options.epochs} epochs" if options.time_limit is None else f"as many epochs as fit into {options.time_limit}",
        f"batches of {options.batch_size}",
        f"{options.optimizer} at {options.learning_rate:g}",
        f"{options.schedule} schedule",
        *([f"warm-up of {options.warmup:g} epochs"] if options.warmup else []),
        f"weight decay {options.weight_decay:g}",
        *([f"label smoothing {options.label_smoothing:g}"] if options.label_smoothing else []),
        *([f"averaged weights (EMA {options.ema:g})"] if options.ema else []),
        *([f"token dropout {options.token_dropout:g}"] if options.token_dropout else []),
    ]
    return f"recipe (preset {options.preset}, and what was given): {', '.join(parts)}"
