"""The processes of a run, its ranks, and what they say to each other.

What is spread over the ranks, three ways:
- `samples` (data-parallel): every share of a batch is cut evenly; gradients are summed over the ranks, and batch norm's
  statistics are those of the whole batch.
- `students`: each rank has some students and learns from their shares; the gradients of what students share are summed.
- `members`: each rank has some of a group's separate networks; all ranks see the whole batch and exchange logits only.

A batch with too few samples to cut is everybody's: all ranks do the same, and nothing is counted twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function
from torch.overrides import TorchFunctionMode

from studygroup.errors import TrainingError, UserError

Sharding = Literal["samples", "students", "members"]
BUCKET = 25 * 2**20  # bytes of gradients that are sent together
PATIENCE = timedelta(seconds=50)  # for a rank that does not answer in the middle of a step
LONG = timedelta(days=2)  # for what only the first rank does
TOLD = "said by rank 0"  # a note on errors that another rank tells the user
T = TypeVar("T")


class DistContext:
    """The ranks of a run, seen from one of them. A process alone is rank 0 of 1 and says nothing to nobody.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
        shard: what is spread over them.
        in_step: whether the ranks are in the middle of a step in which each has its part: then all must say the same things in the
            same order.
        sent: bytes that this rank has sent, by the usual algorithms' formulas: 2 (R - 1) / R of what is summed (ring), (R - 1) / R
            of what is broadcast, averaged over the ranks, R - 1 times its own part of what is gathered.
    """

    def __init__(self, rank: int = 0, size: int = 1, shard: Sharding = "samples", *, on_gpu: bool = False) -> None:
        self.rank = rank
        self.size = size
        self.shard: Sharding = shard
        self.on_gpu = on_gpu
        self.in_step = False
        self.bytes_sent = 0.0
        self._agreed = 0

    @property
    def is_distributed(self) -> bool:
        """Whether there is more than one."""
        return self.size > 1

    def owner(self, student: int, students: int) -> int:
        """The rank that student number `student` of `students` lives on."""
        return student * self.size // students

    # ------------------------------------------------------------ who learns from what

    def spans(self, sizes: Sequence[int], rank: int | None = None) -> list[tuple[int, int]] | None:
        """From where to where a rank's part of each share of a batch goes; None if the batch is everybody's.

        Args:
            sizes: samples of each share.
            rank: whose part; this one's by default.
        """
        rank = self.rank if rank is None else rank
        if not self.is_distributed or self.shard == "members":
            return None
        if self.shard == "students":
            owners = [self.owner(k, len(sizes)) for k in range(len(sizes))]
            if {owner for owner, size in zip(owners, sizes, strict=True) if size} != set(range(self.size)):
                return None
            return [(0, size if owner == rank else 0) for owner, size in zip(owners, sizes, strict=True)]
        if any(0 < size < self.size for size in sizes):
            return None
        return [(size * rank // self.size, size * (rank + 1) // self.size) for size in sizes]

    # ------------------------------------------------------------ numbers

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks, in buckets of one type."""
        if not self.is_distributed:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the gradients over the ranks; a parameter that has none anywhere keeps none."""
        if not self.is_distributed or self.shard == "members":
            return
        have = [parameter.grad is not None for parameter in parameters]
        if self.shard == "students":  # elsewhere all ranks compute the same functions, each of its samples
            flags = torch.tensor(have, dtype=torch.uint8, device=parameters[0].device if self.on_gpu else "cpu")
            self._all_reduce(flags, dist.ReduceOp.MAX)
            have = flags.bool().tolist()
        moved = [parameter for parameter, wanted in zip(parameters, have, strict=True) if wanted]
        for parameter in moved:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.sum([cast(Tensor, parameter.grad) for parameter in moved])

    def broadcast(self, tensors: Sequence[Tensor], source: int) -> None:
        """Give everybody the tensors of one rank."""
        if not self.is_distributed:
            return
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            with _connection():
                dist.broadcast(whole, source)
            self.bytes_sent += whole.nbytes * (self.size - 1) / self.size
            if whole.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(whole)

    def gather_rows(self, own: Tensor, rows: Sequence[Tensor], mine: Tensor) -> Tensor:
        """The rows of all ranks in the order of the whole; gradient flows to the own ones.

        The gradient is scaled for a loss that every rank computes from the same gathered rows, and that counts on each by its
        share of the samples.

        Args:
            own: (b, ...), this rank's.
            rows: for every rank the places (b_r,) of its rows in the whole.
            mine: (b,) this rank's places, on the device.
        """
        all_gather: Tensor = _Gather.apply(own, self, rows, mine)  # type: ignore[no-untyped-call]
        return all_gather

    def sync_batch_norm(self) -> AbstractContextManager[object]:
        """While entered, batch norm in train mode normalises by the statistics of all ranks' samples."""
        return _Synchronised(self) if self.is_distributed and self.shard != "members" else nullcontext()

    def _all_reduce(self, tensor: Tensor, operation: Any = dist.ReduceOp.SUM) -> None:
        with _connection():
            dist.all_reduce(tensor, operation)
        self.bytes_sent += tensor.nbytes * 2 * (self.size - 1) / self.size

    # ------------------------------------------------------------ words

    def any_rank(self, flag: bool) -> bool:
        """Whether any rank says yes."""
        if not self.is_distributed:
            return flag
        told = torch.tensor([flag], dtype=torch.uint8)
        with _connection():
            dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told.item())

    def all_gather_object(self, value: T) -> list[T]:
        """Every rank's value, of JSON's types."""
        if not self.is_distributed:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with _connection():
            dist.all_gather(sizes, torch.tensor([len(data)]))
            longest = max(int(size) for size in sizes)
            found = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(found, F.pad(data, (0, longest - len(data))))
        return [json.loads(bytes(text[: int(size)].tolist())) for text, size in zip(found, sizes, strict=True)]

    def on_rank_zero(self, work: Callable[[], T]) -> T:
        """What the first rank's `work` returns, of JSON's types; nobody goes on before it is done, or after it failed.

        Raises:
            UserError, TrainingError: on all ranks, if the first one's work raised it.
        """
        if not self.is_distributed:
            return work()
        self._agreed += 1
        store, name = dist.distributed_c10d._get_default_store(), f"studygroup/{self._agreed}"
        if self.rank == 0:
            try:
                result = work()
            except (UserError, TrainingError) as error:
                store.set(name, json.dumps({type(error).__name__: str(error)}))
                raise
            store.set(name, json.dumps({"done": result}))
            return result
        with _connection():
            store.wait([name], LONG)
        told = json.loads(store.get(name))
        for kind in (UserError, TrainingError):
            if kind.__name__ in told:
                failure = kind(told[kind.__name__])
                failure.add_note(TOLD)
                raise failure
        return cast(T, told["done"])


SINGLE_PROCESS = DistContext()


class RankLost(TrainingError):
    """Another rank does not answer."""


@contextmanager
def _connection() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            f"lost the connection to another rank ({str(error).splitlines()[0][:120]}); it was killed, failed or hangs. "
            "The last checkpoint is kept: go on with --resume, with any number of ranks"
        ) from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, cut where the type changes or a bucket is full."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.nbytes for t in bucket) + tensor.nbytes > BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: DistContext, rows: Sequence[Tensor], mine: Tensor) -> Tensor:
        longest = max(len(places) for places in rows)
        padded = torch.cat([own.detach(), own.new_zeros(longest - len(own), *own.shape[1:])]).contiguous()
        found = [torch.empty_like(padded) for _ in rows]
        with _connection():
            dist.all_gather(found, padded)
        ranks.bytes_sent += padded.nbytes * (ranks.size - 1)
        joined = torch.cat([part[: len(places)] for part, places in zip(found, rows, strict=True)])
        whole = torch.empty_like(joined)
        whole[torch.cat(list(rows)).to(own.device)] = joined
        ctx.save_for_backward(mine)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (mine,) = ctx.saved_tensors
        return gradient[mine] * (len(gradient) / max(len(mine), 1)), None, None, None


class _Sum(Function):
    """The sum over the ranks; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: DistContext) -> Tensor:
        ctx.ranks = ranks
        total = tensor.detach().clone()
        ranks._all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone()
        ctx.ranks._all_reduce(gradient)
        return gradient, None


class _Synchronised(TorchFunctionMode):
    """Replaces batch norm in train mode, whatever module calls it: no network has to be changed for ranks, or changed back.

    Where students are spread, a student's own batch norm has all its samples on one rank; what pools students over ranks is the
    norm that asks for its statistics back (`torch.native_batch_norm`), and only that is synchronised.
    """

    def __init__(self, ranks: DistContext) -> None:
        super().__init__()
        self.ranks = ranks

    def __enter__(self) -> Any:
        self.ranks.in_step = True
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: object) -> None:
        self.ranks.in_step = False
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and self.ranks.shard == "samples":
            return self.batch_norm(*args, **kwargs)
        if func is torch.native_batch_norm:
            return self.native_batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Arguments as `F.batch_norm`."""
        if not training:
            return torch.batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps, torch.backends.cudnn.enabled)
        return self.native_batch_norm(input, weight, bias, running_mean, running_var, True, momentum, eps)[0]

    def native_batch_norm(
        self,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments as `torch.native_batch_norm`, of which only train mode is used."""
        values = input if input.dtype in (torch.float32, torch.float64) else input.float()
        others = [dimension for dimension in range(values.dim()) if dimension != 1]
        shape = [1, -1] + [1] * (values.dim() - 2)
        count = values.new_full((1,), values.numel() // values.shape[1])
        sums: Tensor = _Sum.apply(torch.cat([values.sum(others), count]), self.ranks)  # type: ignore[no-untyped-call]
        total = sums[-1].detach()
        total = total.clamp_min(1)  # nobody may have samples for a module in this step
        mean = sums[:-1] / total
        centred = values - mean.view(shape)
        var: Tensor = _Sum.apply(centred.square().sum(others), self.ranks) / total  # type: ignore[no-untyped-call]
        invstd = (var + eps).rsqrt()
        output = centred * invstd.view(shape)
        if weight is not None:
            output = output * weight.view(shape)
        if bias is not None:
            output = output + bias.view(shape)
        with torch.no_grad():
            share = momentum * (sums[-1] > 0)
            if running_mean is not None:
                running_mean.lerp_(mean.to(running_mean.dtype), share.to(running_mean.dtype))
            if running_var is not None:
                running_var.lerp_((var * total / (total - 1).clamp_min(1)).to(running_var.dtype), share.to(running_var.dtype))
        return output.to(input.dtype), mean.detach(), invstd.detach()


def launched_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun, or something that speaks its language, has started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def init_distributed(shard: Sharding = "samples", *, gpu: bool = False) -> Iterator[DistContext]:
    """Take one's place among the ranks that the environment names; alone if it names none.

    Args:
        shard: what is spread over the ranks.
        gpu: whether the ranks have a GPU each.

    Raises:
        UserError: the ranks cannot find each other.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if launched_by_torchrun() else 1
    if size == 1:
        yield DistContext(shard=shard)
        return
    local, here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if gpu:
        torch.cuda.set_device(local)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max((os.cpu_count() or 1) // here, 1))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the ranks cannot find each other ({str(error).splitlines()[0][:160]}); check the address and the port") from error
    try:
        yield DistContext(dist.get_rank(), dist.get_world_size(), shard, on_gpu=gpu)
    finally:
        dist.destroy_process_group()
