"""The processes (ranks) of a run and their collective operations.

What is sharded over the ranks:
- `samples` (data parallel): each student's samples of a batch are split evenly; gradients are summed over the ranks, and batch
  norm uses the statistics of the global batch.
- `students`: each rank trains some students on their samples; the gradients of shared parameters are summed.
- `members`: each rank trains some of a group's separate networks; all ranks see the global batch and exchange logits only.

A batch with too few samples to split is processed by every rank, and counted once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from studygroup.distributed.batch_norm import SyncBatchNormMode
from studygroup.distributed.collectives import GatherRows, buckets, connection_errors
from studygroup.errors import TrainingError, UserError
from studygroup.threads import available_cpus

if TYPE_CHECKING:
    from studygroup.options import Sharding

COLLECTIVE_TIMEOUT = timedelta(seconds=50)  # for a rank that does not respond during a step
RANK_ZERO_TIMEOUT = timedelta(days=2)  # for work that only rank 0 does
REPORTED_BY_RANK_ZERO = "reported by rank 0"  # a note on errors that need not be shown by this rank
T = TypeVar("T")


class DistContext:
    """The ranks of a run, seen from one of them. With one process, every collective is a no-op.

    Attributes:
        rank: of this process, from 0.
        world_size: number of ranks.
        shard: what is sharded over them.
        in_step: whether a step is running in which every rank has a part: then all ranks must call the same collectives in the same
            order.
        bytes_sent: by this rank, by the formulas of the usual algorithms: 2 (R - 1) / R of what is all-reduced (ring), (R - 1) / R of
            what is broadcast, averaged over the ranks, and R - 1 times its own part of what is gathered.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, shard: Sharding = "samples", *, on_gpu: bool = False) -> None:
        self.rank = rank
        self.world_size = world_size
        self.shard: Sharding = shard
        self.on_gpu = on_gpu
        self.in_step = False
        self.bytes_sent = 0.0
        self._rank_zero_calls = 0

    @property
    def is_distributed(self) -> bool:
        """Return whether there is more than one rank."""
        return self.world_size > 1

    def owner(self, student: int, students: int) -> int:
        """Return the rank that trains student number `student` of `students`."""
        return student * self.world_size // students

    def spans(self, sizes: Sequence[int], rank: int | None = None) -> list[tuple[int, int]] | None:
        """Return the range of each student's samples that a rank processes; None if every rank processes the global batch.

        Args:
            sizes: number of samples of each student.
            rank: this one by default.
        """
        rank = self.rank if rank is None else rank
        if not self.is_distributed or self.shard == "members":
            return None
        if self.shard == "students":
            owners = [self.owner(k, len(sizes)) for k in range(len(sizes))]
            if {owner for owner, size in zip(owners, sizes, strict=True) if size} != set(range(self.world_size)):
                return None
            return [(0, size if owner == rank else 0) for owner, size in zip(owners, sizes, strict=True)]
        if any(0 < size < self.world_size for size in sizes):
            return None
        return [(size * rank // self.world_size, size * (rank + 1) // self.world_size) for size in sizes]

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks, in buckets of one dtype."""
        if not self.is_distributed:
            return
        for bucket in buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self.all_reduce_tensor(flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def all_reduce_tensor(self, tensor: Tensor, operation: Any = dist.ReduceOp.SUM) -> None:
        """All-reduce one contiguous tensor in place; there must be several ranks."""
        with connection_errors():
            dist.all_reduce(tensor, operation)
        self.bytes_sent += tensor.nbytes * 2 * (self.world_size - 1) / self.world_size

    def all_reduce_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the gradients over the ranks; a parameter without a gradient on any rank keeps None."""
        if not self.is_distributed or self.shard == "members":
            return
        has_gradient = [parameter.grad is not None for parameter in parameters]
        if self.shard == "students":  # otherwise all ranks compute the same functions, on different samples
            flags = torch.tensor(has_gradient, dtype=torch.uint8, device=parameters[0].device if self.on_gpu else "cpu")
            self.all_reduce_tensor(flags, dist.ReduceOp.MAX)
            has_gradient = flags.bool().tolist()
        trained = [parameter for parameter, flag in zip(parameters, has_gradient, strict=True) if flag]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.all_reduce([cast(Tensor, parameter.grad) for parameter in trained])

    def broadcast(self, tensors: Sequence[Tensor], source: int) -> None:
        """Overwrite the tensors by those of rank `source`."""
        if not self.is_distributed:
            return
        for tensor in tensors:
            buffer = tensor.detach().contiguous()
            with connection_errors():
                dist.broadcast(buffer, source)
            self.bytes_sent += buffer.nbytes * (self.world_size - 1) / self.world_size
            if buffer.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(buffer)

    def gather_rows(self, local: Tensor, rows: Sequence[Tensor], local_rows: Tensor) -> Tensor:
        """Gather the rows of all ranks in the order of the global batch; gradient flows to the local ones.

        The gradient is scaled for a loss that every rank computes from the same gathered rows and weights by its fraction of the
        samples.

        Args:
            local: (b, ...), of this rank.
            rows: for every rank, the global numbers (b_r,) of its rows.
            local_rows: (b,), those of this rank, on the device.
        """
        gathered: Tensor = GatherRows.apply(local, self, rows, local_rows)  # type: ignore[no-untyped-call]
        return gathered

    def sync_batch_norm(self) -> AbstractContextManager[object]:
        """Return a context in which batch norm in train mode uses the statistics of all ranks' samples."""
        return SyncBatchNormMode(self) if self.is_distributed and self.shard != "members" else nullcontext()

    def any_rank(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        if not self.is_distributed:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)
        with connection_errors():
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def all_gather_object(self, value: T) -> list[T]:
        """Return the values of all ranks; they must be JSON values."""
        if not self.is_distributed:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        with connection_errors():
            dist.all_gather(sizes, torch.tensor([len(data)]))
            longest = max(int(size) for size in sizes)
            received = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world_size)]
            dist.all_gather(received, F.pad(data, (0, longest - len(data))))
        return [json.loads(bytes(text[: int(size)].tolist())) for text, size in zip(received, sizes, strict=True)]

    def on_rank_zero(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0 and return its result, a JSON value, on every rank; all ranks wait for it.

        Raises:
            UserError, TrainingError: on all ranks, if `work` raised it.
        """
        if not self.is_distributed:
            return work()
        self._rank_zero_calls += 1
        store, key = dist.distributed_c10d._get_default_store(), f"studygroup/{self._rank_zero_calls}"
        if self.rank == 0:
            try:
                result = work()
            except (UserError, TrainingError) as error:
                store.set(key, json.dumps({type(error).__name__: str(error)}))
                raise
            store.set(key, json.dumps({"done": result}))
            return result
        with connection_errors():
            store.wait([key], RANK_ZERO_TIMEOUT)
        outcome = json.loads(store.get(key))
        for kind in (UserError, TrainingError):
            if kind.__name__ in outcome:
                failure = kind(outcome[kind.__name__])
                failure.add_note(REPORTED_BY_RANK_ZERO)
                raise failure
        return cast(T, outcome["done"])


SINGLE_PROCESS = DistContext()


def launched_by_torchrun() -> bool:
    """Return whether this process was started by torchrun or a launcher that sets the same environment variables."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def init_distributed(shard: Sharding = "samples", *, gpu: bool = False) -> Iterator[DistContext]:
    """Join the process group that the environment variables of torchrun describe; without them, yield a single process.

    Args:
        shard: what is sharded over the ranks.
        gpu: whether each rank has a GPU.

    Raises:
        UserError: the process group cannot be formed.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1")) if launched_by_torchrun() else 1
    if world_size == 1:
        yield DistContext(shard=shard)
        return
    local_rank, local_world_size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if gpu:
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(available_cpus() // local_world_size, 1))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=COLLECTIVE_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the ranks cannot connect ({str(error).splitlines()[0][:160]}); check the address and the port") from error
    try:
        yield DistContext(dist.get_rank(), dist.get_world_size(), shard, on_gpu=gpu)
    finally:
        dist.destroy_process_group()
