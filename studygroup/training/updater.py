"""One batch: the method's losses, backward, and an optimiser update at every yield."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import TrainingError, UserError, unknown_name
from studygroup.methods.method import Losses, Method
from studygroup.training.settings import Settings


class LossMeter:
    """Sums of the losses of an epoch by name, kept on the device: reading them would wait for it at every step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}

    def add(self, losses: Losses, weight: Callable[[str], float]) -> None:
        """Add one update's losses; `weight(name)` is the share of the batch that a loss is of."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.detach().float() * weight(name)
            self.counts[name] = self.counts.get(name, 0.0) + weight(name)

    def means(self) -> dict[str, float]:
        """Mean of each loss over the updates that had it."""
        return {name: float(total) / self.counts[name] for name, total in sorted(self.sums.items())}

    def check(self, clock: Clock) -> None:
        """Raise TrainingError if a loss was not finite."""
        bad = [name for name, total in self.sums.items() if not torch.isfinite(total)]
        if bad:
            member, _, loss = bad[0].partition("/")
            more = f" (and {', '.join(bad[1:4])})" if bad[1:] else ""
            value = "nan" if torch.isnan(self.sums[bad[0]]) else "infinite"
            raise TrainingError(
                f"the {loss} loss of {member} is {value} in epoch {clock.epoch + 1}, step {clock.step + 1}{more}; "
                "the last good checkpoint is kept; try a lower learning rate or --clip-grad-norm 5 in a new run"
            )

    def merged(self, ranks: DistContext) -> LossMeter:
        """What all ranks have added up; members that every rank knows all about are counted once."""
        if not ranks.is_distributed or ranks.shard == "members":
            return self
        whole = LossMeter()
        for sums, counts in ranks.all_gather_object(({name: float(total) for name, total in self.sums.items()}, self.counts)):
            for name, total in sums.items():
                whole.sums[name] = whole.sums.get(name, torch.zeros((), dtype=torch.float64)) + total
                whole.counts[name] = whole.counts.get(name, 0.0) + counts[name]
        return whole

    def state(self) -> dict[str, dict[str, Tensor | float]]:
        """What a checkpoint keeps of it."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load(self, state: dict[str, dict[str, Tensor]], device: torch.device) -> None:
        """Go on from a checkpoint's sums."""
        self.sums = {name: total.to(device) for name, total in state["sums"].items()}
        self.counts = {name: float(count) for name, count in state["counts"].items()}


class Updater:
    """Owns the optimiser; turns each yield of a method's step into one update, in which all ranks take part."""

    def __init__(self, method: Method, settings: Settings, device: torch.device, ranks: DistContext = SINGLE_PROCESS) -> None:
        self.method = method
        self.ranks = ranks
        self.settings = settings
        self.device = device
        self.autocast = settings.autocast(device)
        sets = method.parameter_sets()
        scales = {**method.learning_rate_scales(), **settings.learning_rate_scales}
        for member in settings.learning_rate_scales:
            if member not in sets:
                raise unknown_name("member with a learning rate of its own", member, sets)
        check_cut(method, settings)
        groups = [{"params": parameters, "scale": scales.get(name, 1.0)} for name, parameters in sets.items()]
        self.optimizer = _optimizer(settings, groups)
        self.parameters = [parameter for parameters in sets.values() for parameter in parameters]
        self.sets = sets

    def forward(self, run: Callable[[], Losses | None]) -> Losses | None:
        """Run a forward computation in the run's precision.

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

    def learn(self, batch: Batch, clock: Clock, meter: LossMeter) -> None:
        """Everything that one batch teaches.

        Raises:
            TrainingError: a loss is not finite (on the CPU at once; elsewhere the caller checks the ledger now and then).
        """
        factor = self.settings.rate(clock.epoch, clock.epoch + (clock.step + 1) / clock.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * group["scale"] * factor
        parts = batch.split(self.settings.microbatches) if self.settings.microbatches > 1 else [batch]
        lessons = [(self.method.step(part, clock), self.weights(part, batch)) for part in parts]
        while True:
            open_lessons = 0
            for lesson, weight in lessons:
                with self.ranks.sync_batch_norm() if batch.shard is not None else nullcontext():
                    losses = self.forward(lambda lesson=lesson: next(lesson, None))  # type: ignore[misc]
                if losses is None:
                    continue
                open_lessons += 1
                meter.add(losses, weight)
                if self.device.type == "cpu":
                    meter.check(clock)
                weighted = (loss if (share := weight(name)) == 1.0 else share * loss for name, loss in losses.items())
                total = sum(weighted, torch.zeros((), device=self.device))
                if total.requires_grad:
                    total.backward()
            if not open_lessons:
                return
            self.update()

    def weights(self, part: Batch, batch: Batch) -> Callable[[str], float]:
        """What the loss called `member/loss` counts: losses are means over a member's samples, and these are a share of all of them.

        Args:
            part: what the losses are of.
            batch: what this rank learns from in this step, of which it is a part.
        """
        whole = batch.shard.sizes if batch.shard is not None else batch.student_sizes
        # What every rank computes is counted once, unless it is nobody else's to learn from.
        times = 1 if batch.shard is not None or self.ranks.shard == "members" else self.ranks.world_size
        common = sum(part.student_sizes) / sum(whole) / times
        if part.sizes is None:
            return lambda name: common
        shares = zip(self.method.student_names(), part.sizes, whole, strict=True)
        own = {student: mine / size / times for student, mine, size in shares if size}
        return lambda name: own.get(name.partition("/")[0], common)

    def update(self) -> None:
        """One optimiser update of what received a gradient."""
        self.ranks.all_reduce_gradients(self.parameters)
        if self.settings.clip_grad_norm is not None:
            self.clip_grad_norm(self.settings.clip_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def sync_optimizer_state(self) -> None:
        """Give every rank the optimiser's state of the members that live elsewhere."""
        names = self.method.student_names()
        for k, name in enumerate(names):
            owner = self.ranks.owner(k, len(names))
            states = [self.optimizer.state[parameter] for parameter in self.sets.get(name, [])]
            shapes = [{key: list(value.shape) for key, value in state.items() if isinstance(value, Tensor)} for state in states]
            for parameter, state, known in zip(self.sets.get(name, []), states, self.ranks.all_gather_object(shapes)[owner], strict=True):
                for key, shape in known.items():
                    like = parameter.detach() if shape == list(parameter.shape) else torch.zeros(shape)
                    state.setdefault(key, torch.zeros_like(like))
                self.ranks.broadcast([state[key] for key in known], owner)

    def clip_grad_norm(self, largest: float) -> None:
        """Scale the gradients down to a joint norm of `largest`, if it is larger."""
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        if not self.ranks.is_distributed or self.ranks.shard != "members":
            torch.nn.utils.clip_grad_norm_(moved, largest)
            return
        # Every rank has the gradients of its own members, and those of what is nobody's.
        names = self.method.student_names()
        mine = {name for k, name in enumerate(names) if self.ranks.owner(k, len(names)) == self.ranks.rank}
        counted = [
            parameter.grad
            for name, parameters in self.sets.items()
            for parameter in parameters
            if parameter.grad is not None and (name in mine or (name not in names and self.ranks.rank == 0))
        ]
        square = torch.zeros((), device=self.device, dtype=torch.float64) + sum(gradient.square().sum() for gradient in counted)
        self.ranks.all_reduce([square])
        torch.nn.utils.clip_grads_with_norm_(moved, largest, square.sqrt())


def check_cut(method: Method, settings: Settings) -> None:
    """Raise UserError if batches are to be cut that the method needs whole, or have a single sample."""
    if method.whole_batch and settings.microbatches > 1:
        raise UserError(
            f"microbatches is {settings.microbatches}, but this method relates the samples of a batch to each other; "
            "its batches cannot be cut: take microbatches 1"
        )
    if method.whole_batch and settings.batch_size < 2:
        raise UserError(
            f"batch_size is {settings.batch_size}, but this method relates the samples of a batch to each other; "
            "take a batch_size of at least 2"
        )


def _optimizer(settings: Settings, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=settings.weight_decay
        )
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    raise UserError(f"optimizer is {settings.optimizer!r}; it must be sgd, adam or adamw")
