"""Forward passes that only compute targets, and batch-norm statistics."""

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
    """Change how `network` behaves while it computes targets, and restore it at the end. Gradients stay enabled.

    Args:
        network: any module in train or eval mode; nothing changes in eval mode.
        mode: `"batch_stats"`: batch norm uses batch statistics and does not update the running ones; all other modules are in eval mode
            (no dropout). `"eval"`: eval mode. `"train"`: train mode; running statistics are updated.
    """
    if mode not in ("batch_stats", "eval", "train"):
        raise UserError(f"target mode is {mode!r}; it must be batch_stats, eval or train")
    if mode == "train" or not network.training:
        yield
        return
    changed: list[tuple[nn.Module, str, Any]] = []
    for module in network.modules():
        if isinstance(module, _BatchNorm) and mode == "batch_stats":
            # Without tracking, a batch norm in train mode normalises by batch statistics and does not update its buffers.
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
    """Return the logits (B, C) of `network` as targets: no gradient, no update of running statistics (see `target_mode`)."""
    with torch.no_grad(), target_mode(network, mode):
        logits: Tensor = network(inputs)
    return logits


class Frozen(nn.Module):
    """A teacher that is not trained: always in eval mode, without gradients."""

    def __init__(self, network: nn.Module) -> None:
        """Args: network: not copied."""
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Args: inputs: (B, ...). Returns: logits (B, C), detached."""
        logits: Tensor = self.network(inputs)
        return logits

    @torch.no_grad()
    def extract_features(self, inputs: Tensor, layers: Sequence[str] | None = None, *, classifier: str | None = None) -> Features:
        """Return the network's features, detached; arguments as `networks.extract_features`."""
        return extract_features(self.network, inputs, layers, classifier=classifier)


@torch.no_grad()
def recalibrate_bn(network: nn.Module, batches: Iterable[Tensor], *, run: Callable[[nn.Module, Tensor], object] | None = None) -> nn.Module:
    """Return a copy of `network` with batch-norm statistics estimated from `batches`.

    They are the average of the batch statistics (in train mode, without gradient). If students share modules, the running statistics
    mix all students; those of the copy are the student's own.

    Args:
        network: any network.
        batches: inputs (B, ...), preprocessed as in training.
        run: calls the network on a batch, e.g. with autocast; by default `network(inputs)`.

    Raises:
        UserError: there is no batch.
    """
    network = copy.deepcopy(network)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    modes = {module: module.training for module in network.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    count = 0
    for inputs in batches:
        (run or (lambda module, x: module(x)))(network, inputs)
        count += 1
    if norms and not count:
        raise UserError("there is no batch to recalibrate batch norm with; give at least one")
    for norm in norms:
        norm.momentum = momenta[norm]
    for module, mode in modes.items():
        module.training = mode
    return network
