"""CPU threads of this process: how many it may use, and how many it uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

VARIABLE = "OMP_NUM_THREADS"


def available_cpus() -> int:
    """Return the number of CPUs that this process may use: its affinity, and its container's CPU quota rounded up."""
    import joblib  # takes a moment, and most commands need no number

    return int(joblib.cpu_count())


def given_threads() -> int | None:
    """Return the number of threads that the environment variable OMP_NUM_THREADS gives; None without it."""
    return torch.get_num_threads() if os.environ.get(VARIABLE) else None


def limit_threads() -> None:
    """Use no more threads than there are CPUs: torch counts the machine's cores, whatever a container's quota says."""
    if given_threads() is None and torch.get_num_threads() > 1:
        torch.set_num_threads(min(torch.get_num_threads(), available_cpus()))


@contextmanager
def restored_threads() -> Iterator[None]:
    """Restore the number of threads at the end."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
