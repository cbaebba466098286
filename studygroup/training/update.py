"""One batch: the method's losses, backward, and an optimiser update at every yield."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import TrainingError, UserError, unknown
from studygroup.methods.method import Losses, Method
from studygroup.training.settings import Settings


class Ledger:
    """Sums of the losses of an epoch by name, kept on the device: reading them would wait for it at every step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}

    def add(self, losses: Losses, weight: float) -> None:
        """Add one update's losses; `weight` is the share of the batch that they are of."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.detach().float() * weight
            self.counts[name] = self.counts.get(name, 0.0) + weight

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
                "the last good checkpoint is kept; try a lower learning rate or --clip 5 in a new run"
            )

    def state(self) -> dict[str, dict[str, Tensor | float]]:
        """What a checkpoint keeps of it."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load(self, state: dict[str, dict[str, Tensor]], device: torch.device) -> None:
        """Go on from a checkpoint's sums."""
        self.sums = {name: total.to(device) for name, total in state["sums"].items()}
        self.counts = {name: float(count) for name, count in state["counts"].items()}


class Updater:
    """Owns the optimiser; turns each yield of a method's step into one update."""

    def __init__(self, method: Method, settings: Settings, device: torch.device) -> None:
        self.method = method
        self.settings = settings
        self.device = device
        self.autocast = settings.autocast(device)
        sets = method.parameter_sets()
        scales = {**method.learning_rate_scales(), **settings.learning_rate_scales}
        for member in settings.learning_rate_scales:
            if member not in sets:
                raise unknown("member with a learning rate of its own", member, sets)
        check_cut(method, settings)
        groups = [{"params": parameters, "scale": scales.get(name, 1.0)} for name, parameters in sets.items()]
        self.optimizer = _optimizer(settings, groups)
        self.parameters = [parameter for parameters in sets.values() for parameter in parameters]

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

    def learn(self, batch: Batch, clock: Clock, ledger: Ledger) -> None:
        """Everything that one batch teaches.

        Raises:
            TrainingError: a loss is not finite (on the CPU at once; elsewhere the caller checks the ledger now and then).
        """
        factor = self.settings.rate(clock.epoch, clock.epoch + (clock.step + 1) / clock.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * group["scale"] * factor
        parts = batch.split(self.settings.accumulate) if self.settings.accumulate > 1 else [batch]
        lessons = [(self.method.step(part, clock), len(part) / len(batch)) for part in parts]
        while True:
            open_lessons = 0
            for lesson, weight in lessons:
                losses = self.forward(lambda lesson=lesson: next(lesson, None))  # type: ignore[misc]
                if losses is None:
                    continue
                open_lessons += 1
                ledger.add(losses, weight)
                if self.device.type == "cpu":
                    ledger.check(clock)
                total = sum(losses.values(), torch.zeros((), device=self.device))
                if total.requires_grad:
                    (total * weight if weight != 1.0 else total).backward()
            if not open_lessons:
                return
            self.update()

    def update(self) -> None:
        """One optimiser update of what received a gradient."""
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_([p for p in self.parameters if p.grad is not None], self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def check_cut(method: Method, settings: Settings) -> None:
    """Raise UserError if batches are to be cut that the method needs whole."""
    if method.whole_batch and settings.accumulate > 1:
        raise UserError(
            f"accumulate is {settings.accumulate}, but this method relates the samples of a batch to each other; "
            "its batches cannot be cut: take accumulate 1"
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
