"""Scales: numbers -> places in a plot, and the ticks beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis.

    Attributes:
        low: number at `start`.
        high: number at `end`; above `low`.
        start: place of `low`, in units of the plot.
        end: place of `high`.
        log: whether places are of logarithms.
        integers: whether only whole numbers are ticks.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    integers: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a number."""
        low, high, value = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self, wanted: int = 5, text: Callable[[float], str] | None = None) -> list[Tick]:
        """Return about so many ticks at round numbers, labelled by `text`."""
        numbers = self._log_numbers(wanted) if self.log else self._round_numbers(wanted)
        digits = max((len(f"{number:.10f}".rstrip("0").partition(".")[2]) for number in numbers), default=0)
        return [Tick(self(number), text(number) if text is not None else f"{number:,.{digits}f}") for number in numbers]

    def _round_numbers(self, wanted: int) -> list[float]:
        span = (self.high - self.low) / max(wanted, 1)
        power = 10.0 ** math.floor(math.log10(span))
        step = next(factor * power for factor in STEPS if factor * power >= span * (1 - 1e-9) and not (self.integers and factor == 2.5))
        step = max(step, 1) if self.integers else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]

    def _log_numbers(self, wanted: int) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
            found = [factor * 10.0**power for power in powers for factor in factors]
            inside = [number for number in found if self.low * (1 - 1e-9) <= number <= self.high * (1 + 1e-9)]
            if len(inside) >= min(wanted - 1, 3):
                break
        every = -(-len(inside) // (wanted + 2))
        return inside[:: max(every, 1)]


def padded(numbers: Iterable[float], share: float = 0.06, *, least: float = 0.0) -> tuple[float, float]:
    """Return the range of some finite numbers, wider by a share on both sides, and at least so wide; (0, 1) of none.

    Args:
        numbers: to show.
        share: of their range on each side.
        least: width of the range; 0 for a tenth of the numbers' size.
    """
    found = [number for number in numbers if math.isfinite(number)]
    if not found:
        return 0.0, 1.0
    low, high = min(found), max(found)
    size = max(abs(low), abs(high))
    least = (least if least > 1e-9 * size else 0.1 * size) or 1.0
    margin = max((high - low) * share, (least - (high - low)) / 2)
    return low - margin, high + margin


def whole(number: float) -> str:
    """Format a whole number."""
    return f"{number:,.0f}"
