"""Time several things in turn: a machine that slows down meanwhile slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Quartiles:
    """A value with the first and third quartile of its samples."""

    value: float
    low: float
    high: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the median of at least one value, and the quartiles."""
    middle = statistics.median(values)
    if len(values) == 1:
        return Quartiles(middle, middle, middle)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(middle, low, high)


def ratio(times: Sequence[float], reference: Sequence[float]) -> Quartiles:
    """Return the ratio of two medians, with the quartiles of the ratios of paired repetitions."""
    paired = quartiles([one / other for one, other in zip(times, reference, strict=True)])
    return Quartiles(statistics.median(times) / statistics.median(reference), paired.low, paired.high)


def interleave(
    timed: Mapping[str, Callable[[], float]], repeats: int, *, warm_up: int = 1, after: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Repeat several things in turn: A, B, A, B, ...

    Args:
        timed: functions by name; each does its work once and returns the seconds that it took.
        repeats: at least 1.
        warm_up: rounds before that are not counted.
        after: called after each repetition, e.g. to advance a progress bar.

    Returns:
        Seconds of every repetition, in order, by name.
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
    """Return the seconds of one call, until the device has finished its work."""
    wait_for(device)
    start = time.perf_counter()
    action()
    wait_for(device)
    return time.perf_counter() - start


def computing_seconds(action: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of computing of one call: on a CPU with one thread, other programs that ran meanwhile do not count."""
    if device.type != "cpu" or torch.get_num_threads() > 1:
        return seconds_of(action, device)
    start = time.process_time()
    action()
    return time.process_time() - start


def wait_for(device: torch.device | None) -> None:
    """Wait until a device has finished its work; the CPU always has."""
    if device is not None and device.type != "cpu":
        torch.accelerator.synchronize(device)
