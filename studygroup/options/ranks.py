"""Options of several processes that train one run together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from studygroup.options.base import MOST_PROCESSES, Options
from studygroup.parameters import option

Sharding = Literal["samples", "students", "members"]


@dataclass(frozen=True, kw_only=True)
class RankOptions(Options):
    """Distributed training."""

    title = "distributed training"

    devices: int = option(
        1,
        at_least=1,
        at_most=MOST_PROCESSES,
        help="Number of processes on this machine: one per GPU, or sharing the CPU cores",
        affects="cost",
    )
    nodes: int = option(
        1,
        at_least=1,
        at_most=MOST_PROCESSES,
        help="Number of machines that run this command; they must share the file system",
        affects="cost",
    )
    rendezvous: str | None = option(None, help="`HOST:PORT` at which several nodes meet", affects="cost")
    shard: Sharding = option(
        "samples",
        help="What is sharded over the processes: `samples` (data parallel), `students` (cgl), or `members` (separate networks that "
        "exchange logits only: dml, orc and others)",
        affects="cost",
    )
