"""Training steps of a built method, without a run folder, a log or an identity."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from studygroup import randomness
from studygroup.batch import Batch, LabelLoss
from studygroup.clock import Clock
from studygroup.data import Batches, Split, Transform, Unlabelled
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.groups import Frozen
from studygroup.methods.method import Method
from studygroup.networks.factory import NetworkFactory
from studygroup.training.meter import LossMeter
from studygroup.training.settings import Settings
from studygroup.training.splits import DataSplits
from studygroup.training.updater import Updater


class StepRunner:
    """A method on a device, with the batches of its training split and the optimizer.

    Attributes:
        batches: the training split as batches.
        updater: the optimizer and the precision.
        memory_format: of images and weights.
    """

    def __init__(
        self,
        method: Method,
        train: Split,
        transform: Transform,
        settings: Settings,
        ranks: DistContext = SINGLE_PROCESS,
        *,
        loss: LabelLoss | None = None,
        unlabelled: Unlabelled | None = None,
    ) -> None:
        """Move the method to the device of the transform.

        Args:
            method: built.
            train: the training split.
            transform: from stored samples to inputs on the device.
            settings: of the training.
            ranks: the processes that train together.
            loss: smoothing and class weights.
            unlabelled: samples without labels, for methods that take them.

        Raises:
            UserError: settings or data that the method cannot work with.
        """
        self.method = method
        self.settings = settings
        self.ranks = ranks
        self.transform = transform
        self.device = transform.device
        self.memory_format = settings.memory_format(self.device)
        method.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload]
        self.batches = Batches(
            train,
            transform,
            batch_size=settings.batch_size,
            partition=method.partition(),
            seed=settings.seed,
            ranks=ranks,
            whole_batch=method.whole_batch,
            balanced=settings.sampling == "balanced",
            loss=loss,
            unlabelled=unlabelled if method.takes_unlabelled else None,
        )
        self.updater = Updater(method, settings, self.device, ranks)
        if settings.compile:
            frozen = [module.network for module in method.modules() if isinstance(module, Frozen)]
            compile_modules([*method.group.compiled_modules(), *method.extra_members().values(), *frozen])

    @classmethod
    def build(cls, method: Method, factory: NetworkFactory, splits: DataSplits, settings: Settings) -> StepRunner:
        """Build a method's networks and make a runner of its steps in train mode."""
        method.build(factory)
        loss = splits.label_loss(settings)
        runner = cls(method, splits.train, splits.transform(settings), settings, loss=loss, unlabelled=splits.unlabelled)
        method.train()
        return runner

    def clock(self, epoch: int, step: int) -> Clock:
        """Return the clock of a step."""
        return Clock(epoch, self.settings.epochs, step, self.batches.steps(), self.settings.seed)

    @contextmanager
    def rehearsal(self) -> Iterator[tuple[Callable[[], None], int]]:
        """Offer a training step whose traces are removed at the end, to measure it.

        Yields:
            A function that trains on the first batch, and how many numbers its inputs have.
        """
        saved = copy.deepcopy((self.method.state_dict(), self.updater.optimizer.state_dict()))
        modes = {module: module.training for module in self.method.modules()}
        batch, clock = next(self.batches.epoch(0)), self.clock(0, 0)
        self.method.train()
        try:
            yield lambda: self.step(batch, clock, LossMeter()), batch.inputs.numel()
        finally:
            self.method.load_state_dict(saved[0])
            self.updater.optimizer.load_state_dict(saved[1])
            for module, mode in modes.items():
                module.training = mode

    def step(self, batch: Batch, clock: Clock, meter: LossMeter) -> None:
        """Train on one batch; see `Updater.step`."""
        own = (self.ranks.rank,) if self.ranks.is_distributed else ()
        seed = randomness.derive_seed(self.settings.seed, "step", clock.epoch, clock.step, *own)  # of dropout
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` notes a stack trace for every other kind of device
        else:
            torch.manual_seed(seed)
        self.updater.step(batch, clock, meter)


def compile_modules(modules: Sequence[nn.Module]) -> None:
    """Compile networks or modules, each as a whole."""
    # Blocks of one class have one `forward`, whose versions are counted together: for each module one to train, one to evaluate, and
    # one to make targets, with gradient and without, of a fixed and of any batch size.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 8 * len(modules) + 8)
    for module in modules:
        module.compile()
