"""What training costs in floating-point operations, counted while real steps are taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop, sdpa_flop

from studygroup.clock import Clock
from studygroup.methods.method import Method
from studygroup.networks.factory import NetworkFactory
from studygroup.training.fit import DataSplits
from studygroup.training.settings import Settings
from studygroup.training.trainer import Trainer
from studygroup.training.updater import LossMeter

COUNTED: dict[Any, Any] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
STEPS = 4  # evenly over the training: some methods draw what a step computes, and some start with less


@dataclass(frozen=True)
class TrainingCost:
    """What a method's training costs, without evaluation.

    Attributes:
        flops_per_sample: forward and backward passes of all that an epoch runs, teachers too, per training sample; steps of earlier stages
            that last as long as the one that is asked for are among them.
        samples_per_epoch: training samples that are learnt from in an epoch, each as often as a step takes it up.
        flops_before: operations of earlier stages that last as long as they do, whatever the number of epochs.
    """

    flops_per_sample: float
    samples_per_epoch: int
    flops_before: float = 0.0

    @property
    def flops_per_epoch(self) -> float:
        """What one epoch more costs."""
        return self.flops_per_sample * self.samples_per_epoch

    def flops(self, epochs: int) -> float:
        """What the whole training costs with so many epochs."""
        return self.flops_before + self.flops_per_epoch * epochs


class Operations(TorchDispatchMode):
    """Counts matrix products and convolutions, 2 per multiply-add, by PyTorch's formulas.

    PyTorch's own `FlopCounterMode` also follows modules, by hooks that do not bear a method's `torch.autograd.grad`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in COUNTED:
            self.flops += COUNTED[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def training_cost(method: Method, factory: NetworkFactory, splits: DataSplits, settings: Settings, *, steps: int = STEPS) -> TrainingCost:
    """Count the operations of a few real steps: matrix products and convolutions, forward and backward, 2 per multiply-add.

    Args:
        method: not assembled yet; it has learnt from the steps' batches afterwards.
        factory: makes its networks.
        splits: what to learn from.
        settings: how; networks must not be compiled, which would hide the operations.
        steps: how many steps, evenly over the training.

    Raises:
        UserError: the method cannot work with the network, the data or the batch size.
        TrainingError: a loss is not finite.
    """
    device, dataset = settings.torch_device(), splits.dataset
    preprocess = dataset.inputs.transform(device, settings.memory_format(device), splits.augment)
    method.build(factory)
    trainer = Trainer(method, splits.train, splits.holdout, preprocess, settings, Path(), identity={})
    method.train()
    flops, samples = 0, 0
    per_epoch = trainer.batches.steps()
    for moment in sorted({settings.epochs * per_epoch * k // steps for k in range(steps)}):
        epoch, step = divmod(moment, per_epoch)
        batch = next(trainer.batches.epoch(epoch, step))
        clock = Clock(epoch, settings.epochs, step, per_epoch, settings.seed)
        with Operations() as counted:
            trainer.updater.learn(batch, clock, LossMeter())
        flops += counted.flops
        samples += len(batch)
    return TrainingCost(flops / samples, sum(trainer.batches.samples_per_epoch))
