"""Collective operations on tensors: their errors, buckets and gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import Function

from studygroup.errors import TrainingError

if TYPE_CHECKING:
    from studygroup.distributed.context import DistContext

BUCKET_BYTES = 25 * 2**20  # of the tensors that are reduced together


class RankLost(TrainingError):
    """Another rank does not respond."""


@contextmanager
def connection_errors() -> Iterator[None]:
    """Turn errors of torch.distributed into `RankLost`."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            f"lost the connection to another rank ({str(error).splitlines()[0][:120]}); it was killed, failed or hangs. "
            "The last checkpoint is kept: continue with --resume, with any number of ranks"
        ) from error


def buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Group consecutive tensors of one dtype into buckets of at most `BUCKET_BYTES` (or a single larger tensor)."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.nbytes for t in bucket) + tensor.nbytes > BUCKET_BYTES):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


class GatherRows(Function):
    """The rows of all ranks in the order of the global batch (see `DistContext.gather_rows`)."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, ranks: DistContext, rows: Sequence[Tensor], local_rows: Tensor) -> Tensor:
        """Args: local: (b, ...). ranks: all of them. rows: global row numbers of every rank. local_rows: of this rank, on the device."""
        longest = max(len(numbers) for numbers in rows)
        padded = torch.cat([local.detach(), local.new_zeros(longest - len(local), *local.shape[1:])]).contiguous()
        received = [torch.empty_like(padded) for _ in rows]
        with connection_errors():
            dist.all_gather(received, padded)
        ranks.bytes_sent += padded.nbytes * (ranks.world_size - 1)
        joined = torch.cat([part[: len(numbers)] for part, numbers in zip(received, rows, strict=True)])
        gathered = torch.empty_like(joined)
        gathered[torch.cat(list(rows)).to(local.device)] = joined
        ctx.save_for_backward(local_rows)
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Args: gradient: (B, ...) of the gathered rows."""
        (local_rows,) = ctx.saved_tensors
        return gradient[local_rows] * (len(gradient) / max(len(local_rows), 1)), None, None, None


class AllReduceSum(Function):
    """The sum over the ranks; its gradient is summed over the ranks, too."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: DistContext) -> Tensor:
        """Args: tensor: of the same shape on all ranks. ranks: all of them."""
        ctx.ranks = ranks
        total = tensor.detach().clone()
        ranks.all_reduce_tensor(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Args: gradient: of the sum."""
        gradient = gradient.clone()
        ctx.ranks.all_reduce_tensor(gradient)
        return gradient, None
