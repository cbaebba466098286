"""Forward passes that only make targets, and the care of batch-norm statistics."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from studygroup.errors import UserError
from studygroup.networks.features import Features, extract_features

TargetMode = Literal["batch_stats", "eval", "train"]


@contextmanager
def target_mode(network: nn.Module, mode: TargetMode = "batch_stats") -> Iterator[None]:
    """How `network` behaves while it makes targets; everything is put back at the end. It does not switch gradients off.

    Args:
        network: any module in train or eval mode.
        mode: `"batch_stats"`: batch norm uses the batch's statistics and leaves the running ones alone; all else is as in evaluation, so
            nothing is dropped out, whichever module does it. `"eval"`: running statistics, too. `"train"`: as in training, running
            statistics move.
    """
    if mode not in ("batch_stats", "eval", "train"):
        raise UserError(f"target mode is {mode!r}; it must be batch_stats, eval or train")
    if mode == "train" or not network.training:
        yield
        return
    changed: list[tuple[nn.Module, str, Any]] = []
    for module in network.modules():
        if isinstance(module, _BatchNorm) and mode == "batch_stats":
            # Without tracking, a batch norm in train mode normalises by the batch and does not touch its buffers.
            changed.append((module, "track_running_stats", module.track_running_stats))
            module.track_running_stats = False
        elif module.training:
            changed.append((module, "training", module.training))
            module.training = False
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


def predict_targets(network: nn.Module, inputs: Tensor, mode: TargetMode = "batch_stats") -> Tensor:
    """Logits (B, C) of `network` as targets: without gradient, and without a trace in its batch-norm statistics."""
    with torch.no_grad(), target_mode(network, mode):
        logits: Tensor = network(inputs)
    return logits


class Frozen(nn.Module):
    """A trained network that teaches and does not learn: always in eval mode, no gradient, no parameter to train."""

    def __init__(self, network: nn.Module) -> None:
        """Args: network: taken as it is, not copied."""
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stays in eval mode whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Args: inputs: (B, ...). Returns: logits (B, C), detached."""
        logits: Tensor = self.network(inputs)
        return logits

    @torch.no_grad()
    def extract_features(self, inputs: Tensor, positions: Sequence[str] | None = None, *, classifier: str | None = None) -> Features:
        """What the network computes on its way to the logits, detached; arguments as `networks.observe`."""
        return extract_features(self.network, inputs, positions, classifier=classifier)


@torch.no_grad()
def recalibrate_bn(network: nn.Module, batches: Iterable[Tensor], *, run: Callable[[nn.Module, Tensor], object] | None = None) -> nn.Module:
    """A copy of `network` whose batch-norm statistics are estimated anew from `batches`; the network itself is left alone.

    The statistics are the plain average over the batches (in train mode, without gradient). A student's modules are shared,
    so their running statistics are a mixture over students; those of a copy belong to the student alone.

    Args:
        network: a plain network.
        batches: inputs (B, ...), as in training.
        run: how to run a batch (autocast); by default `network(inputs)`.

    Raises:
        UserError: there was no batch.
    """
    network = copy.deepcopy(network)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    modes = {module: module.training for module in network.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    seen = 0
    for inputs in batches:
        (run or (lambda module, x: module(x)))(network, inputs)
        seen += 1
    if norms and not seen:
        raise UserError("no batch to recalibrate batch norm with; give at least one")
    for norm in norms:
        norm.momentum = momenta[norm]
    for module, mode in modes.items():
        module.training = mode
    return network
