"""Memory that stays with the process while it trains."""

from __future__ import annotations

import subprocess
import sys

import pytest

from studygroup import allocator

PROGRAM = """
import resource
from pathlib import Path

import torch

from studygroup.allocator import kept_memory

SIZE = 2**19  # float32: 2 MiB, as a map of a small network in a batch

def work():
    blocks = [torch.ones(SIZE) for _ in range(40)]
    for block in blocks:
        block.add_(1)

def faults(repeats=5):
    for _ in range(3):
        work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

without = faults()
with kept_memory():
    kept = faults()
    held = resident()
print(without, kept, held - resident())
"""


@pytest.mark.skipif(allocator.glibc() is None, reason="the C library is not glibc")
def test_memory_is_kept_inside_and_given_back_at_the_end() -> None:
    out = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    without, kept, returned = map(int, out.split())
    assert kept < 200, "pages that were cleared anew; 80 MiB have 20,480"
    assert without >= kept
    assert returned > 60 * 2**20, "of 80 MiB"


def test_without_glibc_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator.glibc.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert allocator.glibc() is None
        with allocator.kept_memory():
            pass
    allocator.glibc.cache_clear()


def test_memory_is_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    class Library:
        def mallopt(self, *arguments: int) -> None:
            calls.append(arguments)

        def malloc_trim(self, padding: int) -> None:
            calls.append(("trim", padding))

    monkeypatch.setattr(allocator, "glibc", Library)
    with pytest.raises(ZeroDivisionError), allocator.kept_memory():
        raise ZeroDivisionError
    assert calls[-2:] == [(allocator.M_TRIM_THRESHOLD, 2 * allocator.MOST_MMAP), ("trim", 0)]
