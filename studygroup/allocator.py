"""Freed memory stays with the process while it trains.

A training step allocates what the step before has freed. By default glibc gives memory back to the system as soon as a few megabytes at
the end of its heap are free, and the system clears every page before the next step gets it again: up to a tenth of a step's time on a CPU.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # the names in malloc.h
MIB = 2**20
MOST_TRIM = 2**31 - 1  # bytes; the largest that `mallopt` takes
MOST_MMAP = 32 * MIB  # the largest that glibc takes; it comes to the same by itself, once blocks of this size were freed


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep up to 2 GiB of freed memory for what is allocated next, and give it back at the end; without glibc nothing changes."""
    library = glibc()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_THRESHOLD, MOST_MMAP)  # larger blocks are mapped, and given back when they are freed
    library.mallopt(M_TRIM_THRESHOLD, MOST_TRIM)
    try:
        yield
    finally:
        library.mallopt(M_TRIM_THRESHOLD, 2 * MOST_MMAP)  # what glibc comes to by itself
        library.malloc_trim(0)


@cache
def glibc() -> ctypes.CDLL | None:
    """Return the C library of this process, if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
