"""Numerical helpers of the losses: full precision, and normalisation of vectors that may be zero."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def as_float32(tensor: Tensor) -> Tensor:
    """Convert a half-precision tensor to float32; return others unchanged."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def full_precision(function: Function) -> Function:
    """Make a function of tensors, or of lists of tensors, compute in float32 or float64.

    Half-precision tensors are converted, and autocast is disabled: it would multiply float32 matrices in half precision, which loses
    small differences of similarities.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        tensors = [t for value in values for t in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(t, Tensor)]
        with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
            return function(*map(_as_float32, args), **{name: _as_float32(value) for name, value in kwargs.items()})

    return cast(Function, run)


def _as_float32(value: Any) -> Any:
    """Convert the tensors of an argument."""
    if isinstance(value, (list, tuple)):
        return [_as_float32(item) for item in value]
    return as_float32(value) if isinstance(value, Tensor) else value


def unit(vectors: Tensor, dim: int = -1, *, floor: float = 1e-12, offset: float = 0.0) -> Tensor:
    """Divide vectors by max(norm, floor) + offset; a zero vector stays zero.

    With offset 0, the values are those of `torch.nn.functional.normalize`. Its gradient at a zero vector is as large as 1 / floor, so
    that a single dead sample could make training diverge; here it is zero.

    Args:
        vectors: any shape.
        dim: dimension of the vectors.
        floor: minimum of the norm.
        offset: added to the norm.
    """
    norm = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / torch.where(norm > 0, norm.clamp_min(floor) + offset, torch.inf)
