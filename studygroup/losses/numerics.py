"""What the losses need of arithmetic: enough precision, and directions of vectors that may be zero."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def as_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, unchanged otherwise."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def full_precision(function: Function) -> Function:
    """Run a function of tensors, or of lists of tensors, in float32 (or float64) whatever the precision around it.

    Tensors in half precision are converted. Autocast is switched off, because it would multiply float32 matrices in half
    precision: differences of similarities are lost in that.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        tensors = [t for value in values for t in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(t, Tensor)]
        with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
            return function(*map(_full, args), **{name: _full(value) for name, value in kwargs.items()})

    return cast(Function, run)


def _full(value: Any) -> Any:
    """An argument with its tensors in full precision."""
    if isinstance(value, (list, tuple)):
        return [_full(item) for item in value]
    return as_float32(value) if isinstance(value, Tensor) else value


def unit(vectors: Tensor, dim: int = -1, *, floor: float = 1e-12, offset: float = 0.0) -> Tensor:
    """Vectors divided by max(norm, floor) + offset; a vector of zeros stays zero.

    Values are those of `torch.nn.functional.normalize` (with offset 0). Its gradient at a vector of zeros is as large as 1 / floor
    and points nowhere in particular, one dead sample in a batch would be the end of a training; here it is zero.

    Args:
        vectors: any shape.
        dim: the dimension that a vector runs along.
        floor: the least norm to divide by.
        offset: added to the norm.
    """
    norm = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / torch.where(norm > 0, norm.clamp_min(floor) + offset, torch.inf)
