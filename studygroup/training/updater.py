"""One batch: the method's losses, their backward pass, and one optimizer update per yield."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError
from studygroup.methods.method import Losses, Method
from studygroup.training.meter import LossMeter
from studygroup.training.optimizers import build_optimizer, clip_grad_norm, set_learning_rate, sync_optimizer_state
from studygroup.training.settings import Settings


class Updater:
    """Owner of the optimizer; it turns each yield of a method's step into one update, in which all ranks take part."""

    def __init__(self, method: Method, settings: Settings, device: torch.device, ranks: DistContext = SINGLE_PROCESS) -> None:
        """Build the optimizer of a built method's parameters.

        Raises:
            UserError: settings that the method cannot work with.
        """
        self.method = method
        self.ranks = ranks
        self.settings = settings
        self.device = device
        self.autocast = settings.autocast(device)
        check_batches(method, settings)
        self.sets = method.parameter_sets()
        self.optimizer = build_optimizer(settings, self.sets, method)
        self.parameters = [parameter for parameters in self.sets.values() for parameter in parameters]

    def forward(self, run: Callable[[], Losses | None]) -> Losses | None:
        """Run a forward computation in the precision of the run.

        Raises:
            UserError: a batch norm got a single value per channel.
        """
        try:
            with torch.autocast(self.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None):
                return run()
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"a batch of {self.settings.batch_size} leaves batch norm a single value per channel somewhere in the network; "
                "take a larger batch_size, larger images, or fewer students"
            ) from error

    def step(self, batch: Batch, clock: Clock, meter: LossMeter) -> None:
        """Train on one batch: one update per yield of the method's step.

        Raises:
            TrainingError: a loss is not finite (on the CPU at once; elsewhere the caller checks the meter now and then).
        """
        factor = self.settings.rate(clock.epoch, clock.epoch + (clock.step + 1) / clock.steps)
        set_learning_rate(self.optimizer, self.settings.learning_rate * factor)
        parts = batch.split(self.settings.microbatches) if self.settings.microbatches > 1 else [batch]
        steps = [(self.method.step(part, clock), self.loss_weight(part, batch)) for part in parts]
        while True:
            yielded = 0
            for step, weight in steps:
                with self.ranks.sync_batch_norm() if batch.shard is not None else nullcontext():
                    losses = self.forward(lambda step=step: next(step, None))  # type: ignore[misc]
                if losses is None:
                    continue
                yielded += 1
                meter.add(losses, weight)
                if self.device.type == "cpu":
                    meter.check(clock)
                weighted = (loss if (share := weight(name)) == 1.0 else share * loss for name, loss in losses.items())
                total = sum(weighted, torch.zeros((), device=self.device))
                if total.requires_grad:
                    total.backward()
            if not yielded:
                break
            self.update()
        self.method.after_step(clock)

    def loss_weight(self, part: Batch, batch: Batch) -> Callable[[str], float]:
        """Return the weight of the loss `member/loss`: losses are means over a member's samples in `part`, a fraction of all of them.

        Args:
            part: the samples that the losses cover.
            batch: this rank's whole batch.
        """
        sizes = batch.shard.sizes if batch.shard is not None else batch.student_sizes
        # A loss that every rank computes is counted once, unless only its owner's gradient counts anyway.
        copies = 1 if batch.shard is not None or self.ranks.shard == "members" else self.ranks.world_size
        common = sum(part.student_sizes) / sum(sizes) / copies
        if part.sizes is None:
            return lambda name: common
        students = zip(self.method.student_names(), part.sizes, sizes, strict=True)
        own = {student: count / size / copies for student, count, size in students if size}
        return lambda name: own.get(name.partition("/")[0], common)

    def update(self) -> None:
        """Update every parameter that received a gradient."""
        self.ranks.all_reduce_gradients(self.parameters)
        if self.settings.clip_grad_norm is not None:
            clip_grad_norm(self.sets, self.settings.clip_grad_norm, self.method.student_names(), self.ranks)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def sync_optimizer_state(self) -> None:
        """Broadcast the optimizer state of each student from the rank that trains it."""
        sync_optimizer_state(self.optimizer, self.sets, self.method.student_names(), self.ranks)


def check_batches(method: Method, settings: Settings) -> None:
    """Raise UserError if batches are split that the method needs whole, or have a single sample."""
    if method.whole_batch and settings.microbatches > 1:
        raise UserError(
            f"microbatches is {settings.microbatches}, but this method relates the samples of a batch to each other; "
            "its batches cannot be split: take microbatches 1"
        )
    if method.whole_batch and settings.batch_size < 2:
        raise UserError(
            f"batch_size is {settings.batch_size}, but this method relates the samples of a batch to each other; "
            "take a batch_size of at least 2"
        )
