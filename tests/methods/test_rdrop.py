"""R-Drop against a loop over samples."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from studygroup.clock import Clock
from tests.methods.tiny import batch_for, built_method


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_against_a_loop(alpha: float) -> None:
    method = built_method("rdrop", {"alpha": alpha})
    batch = batch_for(method)
    twin = built_method("rdrop", {"alpha": alpha})
    with torch.no_grad():
        passes = twin.group[0](torch.cat(batch.views)).chunk(2)
    first, second = ([softmax(row) for row in z.tolist()] for z in passes)
    labels = batch.labels.tolist()
    errors = [-(math.log(p[y]) + math.log(q[y])) / 2 for p, q, y in zip(first, second, labels, strict=True)]
    symmetric = [alpha / 2 * (divergence(p, q) + divergence(q, p)) for p, q in zip(first, second, strict=True)]
    losses = next(method.step(batch, Clock()))
    torch.testing.assert_close(losses["student0/cross_entropy"], torch.tensor(sum(errors) / len(errors)))
    torch.testing.assert_close(losses["student0/divergence"], torch.tensor(sum(symmetric) / len(symmetric)), rtol=1e-4, atol=1e-6)


def test_two_draws_of_dropout_differ_and_equal_passes_do_not() -> None:
    method = built_method("rdrop", texts=True)
    batch = batch_for(method)
    same = replace(batch, views=(batch.inputs, batch.inputs))
    assert float(next(method.step(same, Clock()))["student0/divergence"].detach()) == pytest.approx(0.0, abs=1e-6)  # the network has none
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    assert float(next(method.step(same, Clock()))["student0/divergence"].detach()) > 1e-4


def test_gradient_flows_to_both_passes() -> None:
    method = built_method("rdrop")
    batch = batch_for(method)
    seen: list[torch.Tensor] = []
    method.group[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    loss = next(method.step(batch, Clock()))["student0/divergence"]
    (gradient,) = torch.autograd.grad(loss, seen)
    assert all(part.abs().sum() > 0 for part in gradient.chunk(2))
