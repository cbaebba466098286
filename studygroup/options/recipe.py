"""Options of the training recipe that suit every method: what goes beyond optimizer and schedule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from studygroup.errors import UserError
from studygroup.options.base import Options
from studygroup.parameters import option

SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Options):
    """Regularisation, averaging, and the end of the training."""

    title = "training recipe"

    preset: Literal["quick", "balanced", "best", "none"] = option(
        "balanced",
        help="Number of epochs and augmentation, if they are not given, by kind and size of the data; `none`: 100 epochs on images, with "
        "light augmentation",
        affects="nothing",  # but through what it chooses, which is saved
    )
    label_smoothing: float = option(
        0.0, at_least=0, below=1, help="Part of the label's probability that all classes share, in the cross-entropy with the labels"
    )
    class_weights: Mapping[str, float] | Literal["balanced"] | None = option(
        None,
        above=0,
        help="Weights of samples in the cross-entropy with the labels, by class: `CLASS=W,...` (others weigh 1), or `balanced`: the "
        "inverse frequency of each class",
    )
    sampling: Literal["uniform", "balanced"] = option(
        "uniform", help="`balanced` draws the samples of an epoch with replacement, all classes equally often"
    )
    ema: float = option(
        0.0,
        at_least=0,
        below=1,
        help="Also evaluate an exponential moving average of each candidate's weights, with this decay, e.g. 0.999; 0 for none",
    )
    decay_norm_bias: bool = option(True, help="Apply the weight decay to biases and to the weights of norms, too")
    dropout: float | None = option(
        None, at_least=0, below=1, help="Dropout probability of networks that have dropout", default_help="the network's own"
    )
    token_dropout: float = option(0.0, at_least=0, below=1, help="Probability with which each token of a training text is left out")
    patience: int | None = option(
        None, at_least=1, help="Stop after this many epochs without a better hold-out accuracy", default_help="all epochs are trained"
    )
    time_limit: str | None = option(
        None,
        help="Train as many epochs as fit into this time, such as `30m`, `2h` or `1h30m`, but at most --epochs if it is given",
        affects="nothing",  # but through the number of epochs that is planned by it, and saved
    )

    def __post_init__(self) -> None:
        """Check what its type does not."""
        super().__post_init__()
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise UserError(f"class_weights is {self.class_weights!r}; it must be balanced, or a mapping of classes and their weights")
        if self.time_limit is not None:
            duration(self.time_limit)


def duration(text: str) -> float:
    """Return the seconds of a duration such as `90s`, `30m`, `2h` or `1h30m`.

    Raises:
        UserError: it is none, or zero.

    Example:
        >>> from studygroup import options
        >>> options.duration("1h30m")
        5400.0
    """
    found = _DURATION.fullmatch(str(text).strip())
    seconds = sum(float(number) * SECONDS[unit] for unit, number in found.groupdict().items() if number) if found else 0.0
    if seconds <= 0:
        raise UserError(f"time_limit is {text!r}; give a duration such as 90s, 30m, 2h or 1h30m")
    return seconds


def show_duration(seconds: float) -> str:
    """Format seconds for a person: `0.42 s`, `48 s`, `3.5 min`, `2.1 h`."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
