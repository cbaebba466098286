"""Ranks: the communication and the speed of each way to shard a run, on 2 and 4 processes of one machine with one thread each.

ResNet-8 on 1 x 28 x 28, batch size 64, float32. CGL with 8 students, sharded by samples and by students, batch norm pooled and per student;
DML with 4 networks, sharded by samples and by members. Bytes, per rank and step: by the formulas of docs/scaling.md, and measured on the
loopback interface (Linux; including the overhead of TCP and of the store). Speed: steps per second relative to one process with one thread;
four processes on fewer cores take turns.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import Row, main
from studygroup.clock import Clock
from studygroup.data import ImageTransform, Split
from studygroup.distributed.context import DistContext, init_distributed
from studygroup.methods import create_method
from studygroup.networks import NetworkFactory
from studygroup.options import Sharding
from studygroup.training import Settings
from studygroup.training.meter import LossMeter
from studygroup.training.step_runner import StepRunner
from studygroup.training.trainer import shard_group

CLASSES, SIZE, BATCH = 10, 28, 64
LOOPBACK = Path("/proc/net/dev")


@dataclass(frozen=True)
class Way:
    """A method, and how it is sharded."""

    method: str
    shard: Sharding
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        bn = f", batch norm {self.options['bn']}" if "bn" in self.options else ""
        return f"{self.method}, {self.options['students']} students{bn}; {self.shard} sharded"


WAYS = [
    Way("cgl", "samples", {"students": 8, "bn": "pooled"}),
    Way("cgl", "students", {"students": 8, "bn": "pooled"}),
    Way("cgl", "students", {"students": 8, "bn": "per_student"}),
    Way("dml", "samples", {"students": 4}),
    Way("dml", "members", {"students": 4}),
]


def runner_of(way: Way, ranks: DistContext, batch: int) -> StepRunner:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch * 40, 1, SIZE, SIZE), dtype=np.uint8)
    split = Split(images, generator.integers(0, CLASSES, len(images)))
    method = create_method(way.method, way.options)
    method.build(NetworkFactory("resnet8", num_classes=CLASSES, in_channels=1))
    if ranks.is_distributed and way.shard != "samples":
        shard_group(method, ranks, CLASSES)
    settings = Settings(batch_size=batch, precision="float32", progress=False, schedule="constant")
    return StepRunner(method, split, ImageTransform((1, SIZE, SIZE), (0.5,), (0.25,), "crop"), settings, ranks)


def sent_over_loopback() -> int:
    """Return the bytes sent since the machine started; 0 where they are not counted."""
    for line in LOOPBACK.read_text().splitlines() if LOOPBACK.exists() else []:
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    return 0


def work(rank: int, size: int, port: int, ways: list[Way], steps: int, batch: int, queue: Any) -> None:
    """Run one rank: measure every way in turn; rank 0 puts the results into the queue."""
    warnings.simplefilter("ignore")
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size), OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    found = []
    with init_distributed() as every:
        for way in ways:
            ranks = DistContext(every.rank, every.world_size, way.shard)
            runner = runner_of(way, ranks, batch)
            runner.method.train()
            seconds = []
            batches = runner.batches.epoch(0)
            before = bytes_before = 0.0
            for step in range(steps + 3):
                if step == 3:  # after a warm-up
                    ranks.any_rank(False)  # a barrier
                    before, bytes_before = ranks.bytes_sent, sent_over_loopback()
                since = time.perf_counter()
                runner.updater.step(next(batches), Clock(0, 1, step, steps + 3), LossMeter())
                seconds.append(time.perf_counter() - since)
            ranks.any_rank(False)
            gradients = sum(parameter.nbytes for parameter in runner.updater.parameters)
            found.append(
                {
                    "seconds": seconds[3:],
                    "model": (ranks.bytes_sent - before) / steps,
                    "measured": (sent_over_loopback() - bytes_before) / steps / size,
                    "gradients": gradients * 2 * (size - 1) / size,
                }
            )
    if rank == 0:
        queue.put(found)


def together(size: int, ways: list[Way], steps: int, batch: int) -> list[dict[str, Any]]:
    """Return the results of `size` processes."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    queue = context.Queue()
    processes = [context.Process(target=work, args=(rank, size, port, ways, steps, batch, queue)) for rank in range(size)]
    for process in processes:
        process.start()
    found: list[dict[str, Any]] = queue.get(timeout=900)
    for process in processes:
        process.join()
    return found


def measure(repeats: int, quick: bool) -> list[Row]:
    steps, batch = (2, 16) if quick else (20, BATCH)
    sizes = (1, 2) if quick else (1, 2, 4)
    runs: dict[int, list[list[dict[str, Any]]]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size in sizes:  # in turn
            runs[size].append(together(size, WAYS, steps, batch))
    rows = []
    for number, way in enumerate(WAYS):
        for size in sizes[1:]:
            pairs = zip(runs[1], runs[size], strict=True)
            ratios = sorted(
                statistics.median(alone[number]["seconds"]) / statistics.median(many[number]["seconds"]) for alone, many in pairs
            )
            found = runs[size][-1][number]
            seconds = statistics.median(statistics.median(run[number]["seconds"]) for run in runs[size])
            details = (
                f"{seconds * 1e3:.0f} ms per step; sent per rank and step {found['model'] / 1e3:,.0f} kB by the formulas, "
                f"{found['measured'] / 1e3:,.0f} kB measured; all gradients would be {found['gradients'] / 1e3:,.0f} kB"
            )
            low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            rows.append(
                Row(
                    f"{way.name}: {size} ranks relative to one",
                    statistics.median(ratios),
                    low,
                    high,
                    details=details,
                    figures={"bytes_model": found["model"], "bytes_measured": found["measured"], "bytes_gradients": found["gradients"]},
                )
            )
    return rows


if __name__ == "__main__":
    main(__doc__ or "", measure, repeats=3)
