"""Synchronised batch norm, without changing the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from studygroup.distributed.collectives import AllReduceSum

if TYPE_CHECKING:
    from studygroup.distributed.context import DistContext


class SyncBatchNormMode(TorchFunctionMode):
    """Computes the statistics of batch norm in train mode over the samples of all ranks, whichever module calls it.

    If students are sharded, all samples of a student are on one rank, so `F.batch_norm` needs no other rank. Only a norm that pools
    students is synchronised: it calls `torch.native_batch_norm`, which returns its statistics.
    """

    def __init__(self, ranks: DistContext) -> None:
        """Args: ranks: the ranks to synchronise."""
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
        """Replace `F.batch_norm`."""
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
        """Replace `torch.native_batch_norm` in train mode."""
        values = input if input.dtype in (torch.float32, torch.float64) else input.float()
        reduced = [dimension for dimension in range(values.dim()) if dimension != 1]
        shape = [1, -1] + [1] * (values.dim() - 2)
        count = values.new_full((1,), values.numel() // values.shape[1])
        sums: Tensor = AllReduceSum.apply(torch.cat([values.sum(reduced), count]), self.ranks)  # type: ignore[no-untyped-call]
        total = sums[-1].detach()
        total = total.clamp_min(1)  # perhaps no rank has samples for a module in this step
        mean = sums[:-1] / total
        centred = values - mean.view(shape)
        var: Tensor = AllReduceSum.apply(centred.square().sum(reduced), self.ranks) / total  # type: ignore[no-untyped-call]
        invstd = (var + eps).rsqrt()
        output = centred * invstd.view(shape)
        if weight is not None:
            output = output * weight.view(shape)
        if bias is not None:
            output = output + bias.view(shape)
        with torch.no_grad():
            momentum_now = momentum * (sums[-1] > 0)
            if running_mean is not None:
                running_mean.lerp_(mean.to(running_mean.dtype), momentum_now.to(running_mean.dtype))
            if running_var is not None:
                running_var.lerp_((var * total / (total - 1).clamp_min(1)).to(running_var.dtype), momentum_now.to(running_var.dtype))
        return output.to(input.dtype), mean.detach(), invstd.detach()
