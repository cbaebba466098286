"""How long things take beside each other: in turn, so that a machine that slows down meanwhile slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Quartiles:
    """A value with the first and third quartile of what it was made from."""

    value: float
    low: float
    high: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """The median of at least one value, and the quartiles."""
    middle = statistics.median(values)
    if len(values) == 1:
        return Quartiles(middle, middle, middle)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(middle, low, high)


def ratio(times: Sequence[float], reference: Sequence[float]) -> Quartiles:
    """The ratio of two medians, with the quartiles of the ratio over the repetitions, which both have in common."""
    apart = quartiles([one / other for one, other in zip(times, reference, strict=True)])
    return Quartiles(statistics.median(times) / statistics.median(reference), apart.low, apart.high)


def interleave(
    timed: Mapping[str, Callable[[], float]], repeats: int, *, warm_up: int = 1, after: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Repetitions in turn: A, B, A, B, ...

    Args:
        timed: what to repeat; each does its work once and says how many seconds it took.
        repeats: at least 1.
        warm_up: rounds before them that do not count.
        after: called after each turn, e.g. to advance a progress bar.

    Returns:
        By name: the seconds of every repetition, in order.
    """
    found: dict[str, list[float]] = {name: [] for name in timed}
    for repeat in range(-warm_up, repeats):
        for name, run in timed.items():
            seconds = run()
            if repeat >= 0:
                found[name].append(seconds)
            after()
    return found


def seconds_of(action: Callable[[], object], device: torch.device | None = None) -> float:
    """How long one call takes, to the end of what it left to do on the device."""
    wait_for(device)
    start = time.perf_counter()
    action()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: torch.device | None) -> None:
    """Wait until a device has done all that it was asked for; on the CPU that is always so."""
    if device is not None and device.type != "cpu":
        torch.accelerator.synchronize(device)
