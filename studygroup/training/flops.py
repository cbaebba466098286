"""The cost of a training in floating-point operations, counted during real steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop, sdpa_flop

from studygroup.data import evaluation_batches
from studygroup.methods.method import Method
from studygroup.networks.factory import NetworkFactory
from studygroup.training.meter import LossMeter
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.step_runner import StepRunner

COUNTED: dict[Any, Any] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
STEPS = 4  # evenly over the training: in some methods steps are random, or cheaper at first


@dataclass(frozen=True)
class TrainingCost:
    """Cost of a method's training, without evaluation.

    Attributes:
        flops_per_sample: forward and backward passes of an epoch, teachers included, per training sample; earlier stages that have as many
            epochs as the last one are included.
        samples_per_epoch: samples of an epoch's batches, counted as often as they occur.
        flops_before: operations of earlier stages whose length does not depend on the number of epochs.
    """

    flops_per_sample: float
    samples_per_epoch: int
    flops_before: float = 0.0

    @property
    def flops_per_epoch(self) -> float:
        """The cost of one more epoch."""
        return self.flops_per_sample * self.samples_per_epoch

    def flops(self, epochs: int) -> float:
        """Return the cost of a training of so many epochs."""
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
        method: not built yet; it is trained on the batches of the steps.
        factory: makes its networks.
        splits: the data.
        settings: of the training; networks must not be compiled, which would hide the operations.
        steps: number of steps, evenly over the training.

    Raises:
        UserError: the method cannot work with the network, the data or the batch size.
        TrainingError: a loss is not finite.
    """
    runner = StepRunner.build(method, factory, splits, settings)
    flops, samples = 0, 0
    per_epoch = runner.batches.steps()
    for number in sorted({settings.epochs * per_epoch * k // steps for k in range(steps)}):
        epoch, step = divmod(number, per_epoch)
        batch = next(runner.batches.epoch(epoch, step))
        with Operations() as counted:
            runner.step(batch, runner.clock(epoch, step), LossMeter())
        flops += counted.flops
        samples += len(batch)
    return TrainingCost(flops / samples, runner.batches.rows_per_epoch())


@torch.no_grad()
def inference_cost(network: nn.Module, splits: DataSplits, samples: int = 64) -> float:
    """Return the operations of a forward pass per sample, measured with so many training samples."""
    inputs, labels = next(evaluation_batches(splits.train, splits.dataset.inputs.transform(), samples))
    was_training = network.training
    network.eval()
    with Operations() as counted:
        network(inputs)
    network.train(was_training)
    return float(counted.flops / len(labels))
