"""Numerical helpers: full precision, and normalisation of vectors that may be zero."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.losses.numerics import as_float32, full_precision, unit


def test_only_half_precision_is_converted() -> None:
    assert as_float32(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert as_float32(torch.ones(2, dtype=torch.float16)).dtype == torch.float32
    for kept in (torch.float32, torch.float64, torch.int64):
        tensor = torch.ones(2, dtype=kept)
        assert as_float32(tensor) is tensor


def test_full_precision_reaches_lists_and_keywords() -> None:
    @full_precision
    def types(one: Tensor, many: list[Tensor], number: float, *, named: Tensor) -> list[torch.dtype]:
        """What arrives."""
        assert not torch.is_autocast_enabled("cpu")
        assert number == 2.5
        return [one.dtype, *(tensor.dtype for tensor in many), named.dtype, (one @ named).dtype]

    half, single = torch.ones(2, 2, dtype=torch.bfloat16), torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert set(types(half, [half, single], 2.5, named=half)) == {torch.float32}
        assert torch.is_autocast_enabled("cpu")
    assert types.__name__ == "types"
    assert types.__doc__ == "What arrives."


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_unit_is_the_usual_normalisation(dim: int) -> None:
    vectors = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    vectors[1] *= 1e-13  # below the floor
    vectors[:, 2, 3] = 0
    torch.testing.assert_close(unit(vectors, dim), F.normalize(vectors, dim=dim), rtol=1e-6, atol=0)
    torch.testing.assert_close(unit(vectors, dim, floor=0.5), F.normalize(vectors, dim=dim, eps=0.5), rtol=1e-6, atol=0)


def test_unit_with_an_offset() -> None:
    found = unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), floor=0.0, offset=5.0)
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.4], [0.0, 0.0]]))


def test_a_vector_of_zeros_has_no_gradient() -> None:
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad((unit(vectors) * torch.tensor([[1.0, 2.0], [5.0, 0.0]])).sum(), vectors)
    assert gradient[0].tolist() == [0.0, 0.0]
    assert gradient[1].tolist() == pytest.approx([5 * (1 / 5 - 9 / 125), 5 * (-12 / 125)])
