"""The training loop: epochs of steps, selection on the hold-out set, checkpoints. It knows the contract of methods only.

Exact resume: random numbers are a function of the seed, the epoch and the step (`randomness.py`), so a checkpoint of the weights, the
optimizer and the loss sums of the current epoch is the whole state of a training.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.allocator import kept_memory
from studygroup.data import Batches, Split, evaluation_batches
from studygroup.devices import repeatable
from studygroup.distributed.context import DistContext
from studygroup.errors import UserError
from studygroup.groups import recalibrate_bn
from studygroup.methods.method import Method
from studygroup.runs import checkpoint
from studygroup.runs.layout import FORMAT, RunFiles
from studygroup.runs.metrics import MetricsLog
from studygroup.threads import available_cpus, given_threads, restored_threads
from studygroup.training.evaluate import Predicted, Scores, score
from studygroup.training.members import Members
from studygroup.training.meter import LossMeter
from studygroup.training.progress import Progress
from studygroup.training.signals import StopRequest
from studygroup.training.state import BestCheckpoint, TrainState, check_same_run, check_saved, load_optimizer
from studygroup.training.step_runner import StepRunner
from studygroup.training.threads import Pace, fastest_threads

EVALUATION_BATCH = 500
CHECK_INTERVAL = 50  # steps between checks of the losses on a device where a check is a synchronisation
RECALIBRATION_BATCHES = 50

logger = logging.getLogger(__name__)


class Interrupted(KeyboardInterrupt):
    """A run that was asked to stop and saved itself; the message says how to continue."""


class Trainer:
    """Trainer of a built method.

    Args:
        runner: the method's training steps.
        holdout: the hold-out split; if empty, the first candidate of the last epoch is selected.
        folder: the run folder, for checkpoints and metrics.
        identity: everything that a resumed run must have in common with this one, in JSON's types.
        title: name in progress bars.
        resume_hint: command that continues the run.
    """

    def __init__(
        self,
        runner: StepRunner,
        holdout: Split,
        folder: Path,
        *,
        identity: Mapping[str, object],
        title: str = "train",
        resume_hint: str = "--resume",
    ) -> None:
        self.runner = runner
        self.method: Method = runner.method
        self.members = Members(runner.method, runner.settings.ema)
        self.ranks: DistContext = runner.ranks
        self.settings = runner.settings
        self.updater = runner.updater
        self.device = runner.device
        self.holdout = holdout
        self.files = RunFiles(folder)
        self.identity: dict[str, Any] = json.loads(json.dumps(dict(identity), default=str))
        self.title = title
        self.resume_hint = resume_hint
        self.log = MetricsLog(self.files, tensorboard=self.settings.tensorboard, writes=self.ranks.rank == 0)
        self.state = TrainState()
        self.pace = Pace()

    def run(self, *, resume: bool = False) -> BestCheckpoint:
        """Train to the end.

        Args:
            resume: continue from the newest checkpoint, if there is one.

        Returns:
            The selected member.

        Raises:
            TrainingError: a loss is not finite, or the disk cannot be written to.
            Interrupted: a stop was requested; everything is saved.
            UserError: the checkpoint is of another run.
        """
        with restored_threads(), repeatable(self.device), kept_memory():
            if resume:
                self.restore()
            self.choose_threads()
            return self.run_epochs()

    def choose_threads(self) -> None:
        """Set the number of threads: the given one, a resumed run's, or the fastest."""
        settings = self.settings
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        measures = settings.threads is None and given_threads() is None and self.device.type == "cpu"
        if not measures or settings.compile or self.ranks.is_distributed or self.state.epoch or self.state.step:
            return
        with self.runner.rehearsal() as (step, size):
            _, seconds = fastest_threads(step, available_cpus())
        self.pace = Pace(seconds / size)

    def run_epochs(self) -> BestCheckpoint:
        """Train from the current state to the end."""
        steps = self.runner.batches.steps()
        wanted = self.settings.progress and self.ranks.rank == 0
        bars = Progress(self.title, self.members.names(), epochs=self.settings.epochs, steps=steps, wanted=wanted)
        try:
            with StopRequest() as stop:
                self.method.train()
                while not self.finished:
                    self.run_epoch(steps, stop, bars)
            if self.stopped_early:
                logger.info("%s: %s", self.title, self.stopped_early)
        finally:
            bars.close()
            self.log.close()
        assert self.state.best is not None
        return self.state.best

    @property
    def finished(self) -> bool:
        """Return whether all epochs are trained, or none was better for as long as the patience lasts."""
        return self.state.epoch >= self.settings.epochs or self.stopped_early is not None

    @property
    def stopped_early(self) -> str | None:
        """Return why the training ended before its last epoch; None if it did not."""
        best, patience, epochs = self.state.best, self.settings.patience, self.settings.epochs
        if patience is None or best is None or self.state.epoch >= epochs or self.state.epoch - best.epoch < patience:
            return None
        return (
            f"stopped after {self.state.epoch} of {epochs} epochs: no better hold-out accuracy than {best.accuracy or 0.0:.2%} of epoch "
            f"{best.epoch} for {patience} {'epoch' if patience == 1 else 'epochs'} (--patience)"
        )

    def run_epoch(self, steps: int, stop: StopRequest, bars: Progress) -> None:
        """Train the rest of the current epoch, then evaluate, log and save a checkpoint."""
        state = self.state
        started, before = time.perf_counter(), state.seconds
        sent = state.bytes_sent - self.ranks.bytes_sent
        batches = self.runner.batches.epoch(state.epoch, state.step)
        while state.step < steps:
            batch = next(batches)
            clock = self.runner.clock(state.epoch, state.step)
            begun = time.perf_counter()
            self.runner.step(batch, clock, state.meter)
            self.pace.step(time.perf_counter() - begun, batch.inputs.numel())
            state.step += 1
            self.members.update(state.epoch * steps + state.step)
            state.samples += sum(batch.shard.sizes) if batch.shard is not None else len(batch)
            state.seconds = before + time.perf_counter() - started
            state.bytes_sent = sent + self.ranks.bytes_sent
            checks = self.device.type == "cpu" or state.step % CHECK_INTERVAL == 0
            if self.device.type != "cpu" and checks:
                state.meter.check(clock)
            bars.step(state.epoch, state.step)
            every = self.settings.checkpoint_steps
            stops = self.ranks.any_rank(stop.requested) if checks or not self.ranks.is_distributed else False
            if stops or (every and state.step % every == 0 and state.step < steps):
                state.meter.check(clock)
                self.save()
            if stops:
                raise Interrupted(
                    f"stopped after epoch {state.epoch}, step {state.step} of the next; everything is saved. Continue with: "
                    f"{self.resume_hint}"
                )
        state.meter.check(self.runner.clock(state.epoch, steps - 1))
        state.seconds = before + time.perf_counter() - started
        self.finish_epoch(bars)

    def finish_epoch(self, bars: Progress) -> None:
        """Evaluate, select, log and save."""
        state = self.state
        self.sync_private_state()
        networks = self.recalibrated() if self.settings.recalibrate_bn else None
        scores = self.score(self.holdout, networks) if len(self.holdout) else None
        self.select(scores, networks)
        meter = state.meter.merged(self.ranks)
        record = {
            "epoch": state.epoch + 1,
            "seconds": round(state.seconds, 4),
            "samples_per_second": round(state.samples / max(state.seconds, 1e-9), 2),
            "learning_rate": self.settings.learning_rate * self.settings.rate(state.epoch, state.epoch + 1),
            "steps": state.step,
            "losses": meter.losses.means(),
            "metrics": meter.metrics.means(),
            "holdout": scores.accuracy if scores else {},
            "holdout_cross_entropy": scores.cross_entropy if scores else {},
            "diversity": scores.diversity if scores else None,
            "disagreement": scores.disagreement if scores else None,
        }
        if self.ranks.is_distributed:
            record["bytes_sent"] = round(state.bytes_sent / max(state.step, 1))
        self.state = TrainState(epoch=state.epoch + 1, best=state.best)
        self.log.history.append(record)
        self.save()
        self.log.append(record)
        bars.epoch(record)

    def select(self, scores: Scores | None, networks: Mapping[str, nn.Module] | None) -> None:
        """Keep the candidate with the best hold-out accuracy so far; ties go to the lower cross-entropy, then to the earlier one."""
        state = self.state
        last = state.epoch + 1 == self.settings.epochs
        if not last and (scores is None or self.settings.select_from == "last"):
            return
        accuracy = cross_entropy = None
        if scores is None:
            warnings.warn("there is no hold-out set to select by: the first student after the last epoch is taken", stacklevel=2)
            name = self.members.candidates[0]
        else:
            ranking = {name: (-scores.accuracy[name], scores.cross_entropy[name]) for name in self.members.candidates}
            name = min(ranking, key=ranking.__getitem__)
            if state.best is not None and ranking[name] >= state.best.rank:
                return
            accuracy, cross_entropy = scores.accuracy[name], scores.cross_entropy[name]
        network = networks[name] if networks else self.members.export(name)
        weights = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
        state.best = BestCheckpoint(name, state.epoch + 1, accuracy, cross_entropy, weights)

    def score(
        self, split: Split, networks: Mapping[str, nn.Module] | None = None, record: Callable[[Predicted], None] = lambda _: None
    ) -> Scores:
        """Score every member, or the given networks by name, on a split in the precision of the run; `record` as of `evaluate.score`."""

        def logits(inputs: Tensor) -> dict[str, Tensor]:
            if networks is None:
                return self.members.logits(inputs)
            return {name: network(inputs) for name, network in networks.items()}

        self.method.eval()
        try:
            return score(
                lambda inputs: self.updater.forward(lambda: logits(inputs)) or {},
                [name for name in self.method.student_names() if networks is None or name in networks],
                islice(evaluation_batches(split, self.runner.transform, EVALUATION_BATCH), self.ranks.rank, None, self.ranks.world_size),
                self.ranks,
                record,
            )
        finally:
            self.method.train()

    def recalibrated(self) -> dict[str, nn.Module]:
        """Return plain copies of all members with batch-norm statistics of their own."""
        return {name: self.recalibrate(self.members.export(name)) for name in self.members.names()}

    def recalibrate(self, network: nn.Module) -> nn.Module:
        """Estimate the batch-norm statistics of a plain network anew, on training samples as they are augmented; return it in eval mode."""
        batches = Batches(self.runner.batches.split, self.runner.transform, batch_size=self.settings.batch_size, seed=self.settings.seed)
        inputs = (batch.inputs for batch in islice(batches.epoch(self.state.epoch), RECALIBRATION_BATCHES))
        return recalibrate_bn(network.eval(), inputs, run=lambda module, x: self.updater.forward(lambda: {"logits": module(x)}))

    def sync_private_state(self) -> None:
        """Give every rank what only the owner of a student has: its weights, their optimizer state, its statistics."""
        if not self.ranks.is_distributed or self.ranks.shard == "samples":
            return
        for group in self.members.groups():
            group.sync_students()
        if self.ranks.shard == "members":
            self.updater.sync_optimizer_state()

    def save(self) -> None:
        """Write a checkpoint."""
        state = self.state
        if state.step:
            self.sync_private_state()
        meter = state.meter.merged(self.ranks)
        saved = {
            "format": FORMAT,
            "identity": json.dumps(self.identity),
            "history": json.dumps(self.log.history),
            "method": self.method.state_dict(),
            "ema": self.members.state(),
            "optimizer": self.updater.optimizer.state_dict(),
            "epoch": state.epoch,
            "step": state.step,
            "seconds": state.seconds,
            "samples": state.samples,
            "bytes_sent": state.bytes_sent,
            "losses": meter.state(),
            "threads": torch.get_num_threads(),
            "best": vars(state.best) if state.best else None,
        }

        def write() -> None:
            checkpoint.save(self.files.checkpoints, saved, epoch=state.epoch, step=state.step)

        self.ranks.on_rank_zero(write)

    def restore(self) -> None:
        """Load the newest checkpoint that is intact and of this run; start from the beginning if there is none.

        Raises:
            UserError: it is of a run with another method, group, data set or settings, or of another version.
            TrainingError: all checkpoints are damaged.
        """
        if not checkpoint.load_newest(self.files.checkpoints, self.load):
            self.log.restore([])

    def load(self, saved: Mapping[str, Any]) -> None:
        """Load what `save` wrote.

        Raises:
            UserError: it is of another run, or of another version.
            ValueError: it does not fit the networks and the settings of this run; so do others of `checkpoint.MISFITS`.
        """
        checkpoint.check_entries(saved)
        if saved.get("format") != FORMAT:
            raise UserError(
                f"the checkpoints in {self.files.checkpoints} were written by another version of studygroup and cannot be resumed; "
                "train the run again with --overwrite"
            )
        check_same_run(json.loads(saved["identity"]), self.identity)
        history, best = check_saved(saved, epochs=self.settings.epochs, steps=self.runner.batches.steps())
        self.method.load_state_dict(saved["method"])
        self.members.load_state(saved["ema"])
        load_optimizer(self.updater.optimizer, saved["optimizer"])
        meter = LossMeter()
        if self.ranks.rank == 0 or self.ranks.shard == "members":  # the sums of all ranks now belong to one
            meter.load(saved["losses"], self.device)
        if best is not None:
            if best.member not in self.members.candidates:
                raise ValueError(f"its best member is {best.member}")
            self.members.export(best.member).load_state_dict(best.weights)  # only to see whether they fit
        self.state = TrainState(saved["epoch"], saved["step"], saved["seconds"], saved["samples"], saved["bytes_sent"], meter, best)
        if self.settings.threads is None and given_threads() is None and self.device.type == "cpu":
            torch.set_num_threads(saved["threads"])  # the last bits depend on it
        self.log.restore(history)


def shard_group(method: Method, ranks: DistContext, classes: int) -> None:
    """Let a method's students, or members, live on different ranks.

    Raises:
        UserError: they cannot.
    """
    if ranks.shard == "students" and method.partition().division == "none":
        raise UserError(
            "--shard students needs separate data per student, but this method trains all students on the same samples; "
            "use --shard samples or members"
        )
    method.group.shard(ranks, classes)
