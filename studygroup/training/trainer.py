"""The loop: epochs of updates, selection on the hold-out set, checkpoints. It knows the contract of methods only.

Exact resume: randomness is a function of the seed, the epoch and the step (`randomness.py`), so a checkpoint of the weights,
the optimiser and the sums of the running epoch is all that there is to a moment of training.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studygroup import randomness
from studygroup.clock import Clock
from studygroup.data import Batches, Split, Transform, evaluation_batches
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError
from studygroup.groups import Frozen, recalibrate_bn
from studygroup.methods.method import Method
from studygroup.runs import checkpoint
from studygroup.runs.metrics import Log
from studygroup.training.evaluate import Scores, score
from studygroup.training.progress import Progress
from studygroup.training.settings import Settings
from studygroup.training.signals import StopRequest
from studygroup.training.updater import LossMeter, Updater

EVALUATION_BATCH = 500
CHECKED_EVERY = 50  # steps between looks at the losses on a device where a look is a synchronisation
RECALIBRATION_BATCHES = 50


class Interrupted(KeyboardInterrupt):
    """A run that was asked to stop and saved itself; the message says how to go on."""


@dataclass
class BestCheckpoint:
    """The member and epoch with the highest hold-out accuracy so far; `weights` are those of the plain network."""

    member: str
    epoch: int
    accuracy: float | None
    cross_entropy: float | None
    weights: dict[str, Tensor]


@dataclass
class TrainState:
    """Where a run stands: `epoch` epochs and `step` steps of the next are done."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    bytes_sent: float = 0.0
    meter: LossMeter = field(default_factory=LossMeter)
    best: BestCheckpoint | None = None


class Trainer:
    """Trains an assembled method.

    Args:
        method: assembled; it is moved to the device.
        train: the training split.
        holdout: the hold-out split, possibly empty: then the first candidate of the last epoch is selected.
        preprocess: what makes inputs of stored samples, on the run's device.
        settings: how to train.
        folder: the run's folder; checkpoints and metrics go there.
        identity: what a run must have in common with this one to be resumed, in JSON's types.
        title: what the progress bar calls it.
        resume_hint: the command that goes on with the run.
        ranks: the processes that train together; the first one writes.
    """

    def __init__(
        self,
        method: Method,
        train: Split,
        holdout: Split,
        preprocess: Transform,
        settings: Settings,
        folder: Path,
        *,
        identity: Mapping[str, object],
        title: str = "train",
        resume_hint: str = "--resume",
        ranks: DistContext = SINGLE_PROCESS,
    ) -> None:
        self.method = method
        self.ranks = ranks
        self.holdout = holdout
        self.preprocess = preprocess
        self.settings = settings
        self.folder = folder
        self.identity: dict[str, Any] = json.loads(json.dumps(dict(identity), default=str))
        self.title = title
        self.resume_hint = resume_hint
        self.device = preprocess.device
        self.format = settings.memory_format(self.device)
        self.method.to(device=self.device, memory_format=self.format)  # type: ignore[call-overload]
        self.batches = Batches(
            train,
            preprocess,
            batch_size=settings.batch_size,
            partition=method.partition(),
            seed=settings.seed,
            ranks=ranks,
            whole_batch=method.whole_batch,
        )
        self.updater = Updater(method, settings, self.device, ranks)
        self.log = Log(folder, tensorboard=settings.tensorboard, writes=ranks.rank == 0)
        self.state = TrainState()
        if settings.compile:
            frozen = [module.network for module in method.modules() if isinstance(module, Frozen)]
            compile_parts([*method.group.compiled_modules(), *method.others().values(), *frozen])

    def run(self, *, resume: bool = False) -> BestCheckpoint:
        """Train to the end.

        Args:
            resume: go on from the newest checkpoint, if there is one.

        Returns:
            The selected member.

        Raises:
            TrainingError: a loss is not finite, or the disk cannot be written to.
            Interrupted: a stop was asked for; everything is saved.
            UserError: the checkpoint is of another run.
        """
        if resume:
            self.restore()
        steps = self.batches.steps()
        wanted = self.settings.progress and self.ranks.rank == 0
        bars = Progress(self.title, self.method.members(), epochs=self.settings.epochs, steps=steps, wanted=wanted)
        try:
            with StopRequest() as stop:
                self.method.train()
                while self.state.epoch < self.settings.epochs:
                    self.run_epoch(steps, stop, bars)
        finally:
            bars.close()
            self.log.close()
        assert self.state.best is not None
        return self.state.best

    def run_epoch(self, steps: int, stop: StopRequest, bars: Progress) -> None:
        """The rest of the running epoch, then evaluation, record and checkpoint."""
        state = self.state
        started, before = time.perf_counter(), state.seconds
        sent = state.bytes_sent - self.ranks.bytes_sent
        batches = self.batches.epoch(state.epoch, state.step)
        while state.step < steps:
            batch = next(batches)
            clock = Clock(state.epoch, self.settings.epochs, state.step, steps, self.settings.seed)
            own = (self.ranks.rank,) if self.ranks.is_distributed else ()
            torch.manual_seed(randomness.derive_seed(self.settings.seed, "step", state.epoch, state.step, *own))  # dropout
            self.updater.learn(batch, clock, state.meter)
            state.step += 1
            state.samples += sum(batch.shard.sizes) if batch.shard is not None else len(batch)
            state.seconds = before + time.perf_counter() - started
            state.bytes_sent = sent + self.ranks.bytes_sent
            looks = self.device.type == "cpu" or state.step % CHECKED_EVERY == 0
            if self.device.type != "cpu" and looks:
                state.meter.check(clock)
            bars.step(state.epoch, state.step)
            every = self.settings.checkpoint_steps
            stops = self.ranks.any_rank(stop.asked) if looks or not self.ranks.is_distributed else False
            if stops or (every and state.step % every == 0 and state.step < steps):
                state.meter.check(clock)
                self.save()
            if stops:
                raise Interrupted(
                    f"stopped after epoch {state.epoch}, step {state.step} of the next; everything is saved. Go on with: {self.resume_hint}"
                )
        state.meter.check(Clock(state.epoch, self.settings.epochs, steps - 1, steps, self.settings.seed))
        state.seconds = before + time.perf_counter() - started
        self.finish_epoch(bars)

    def finish_epoch(self, bars: Progress) -> None:
        """Evaluate, select, record and save."""
        state = self.state
        self.sync_private_state()
        networks = self.recalibrated() if self.settings.recalibrate_bn else None
        scores = self.score(self.holdout, networks) if len(self.holdout) else None
        self.select(scores, networks)
        record = {
            "epoch": state.epoch,
            "seconds": round(state.seconds, 4),
            "samples_per_second": round(state.samples / max(state.seconds, 1e-9), 2),
            "learning_rate": self.settings.learning_rate * self.settings.rate(state.epoch, state.epoch + 1),
            "losses": state.meter.merged(self.ranks).means(),
            "holdout": scores.accuracy if scores else {},
            "holdout_cross_entropy": scores.cross_entropy if scores else {},
            "diversity": scores.diversity if scores else None,
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
        if scores is None:
            warnings.warn("there is no hold-out set to select by: the first student after the last epoch is taken", stacklevel=2)
            name = self.method.candidates[0]
        else:
            rank = {name: (-scores.accuracy[name], scores.cross_entropy[name]) for name in self.method.candidates}
            name = min(rank, key=rank.__getitem__)
            best = state.best
            if (
                best is not None
                and best.accuracy is not None
                and best.cross_entropy is not None
                and rank[name] >= (-best.accuracy, best.cross_entropy)
            ):
                return
        network = networks[name] if networks else self.method.export(name)
        weights = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
        state.best = BestCheckpoint(
            name, state.epoch, scores.accuracy[name] if scores else None, scores.cross_entropy[name] if scores else None, weights
        )

    def score(self, split: Split, networks: Mapping[str, nn.Module] | None = None) -> Scores:
        """Every member (or the given networks) on a split, in the run's precision."""

        def logits(inputs: Tensor) -> dict[str, Tensor]:
            if networks is None:
                return self.method.logits(inputs)
            return {name: network(inputs) for name, network in networks.items()}

        self.method.eval()
        try:
            return score(
                lambda inputs: self.updater.forward(lambda: logits(inputs)) or {},
                self.method.student_names(),
                islice(evaluation_batches(split, self.preprocess, EVALUATION_BATCH), self.ranks.rank, None, self.ranks.size),
                self.ranks,
            )
        finally:
            self.method.train()

    def recalibrated(self) -> dict[str, nn.Module]:
        """Plain copies of all members with batch-norm statistics of their own."""
        batches = Batches(self.batches.split, self.preprocess, batch_size=self.settings.batch_size, seed=self.settings.seed)
        found = {}
        for name in self.method.members():
            inputs = (batch.inputs for batch in islice(batches.epoch(self.state.epoch), RECALIBRATION_BATCHES))
            network = self.method.export(name).eval()
            found[name] = recalibrate_bn(network, inputs, run=lambda module, x: self.updater.forward(lambda: {"logits": module(x)}))
        return found

    def sync_private_state(self) -> None:
        """Give every rank what only the rank of a student knows: its weights, their optimiser's state, its statistics."""
        if not self.ranks.is_distributed or self.ranks.shard == "samples":
            return
        self.method.group.sync_students()
        if self.ranks.shard == "members":
            self.updater.sync_optimizer_state()

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        state = self.state
        if state.step:
            self.sync_private_state()
        meter = state.meter.merged(self.ranks)
        saved = {
            "identity": json.dumps(self.identity),
            "history": json.dumps(self.log.history),
            "method": self.method.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
            "epoch": state.epoch,
            "step": state.step,
            "seconds": state.seconds,
            "samples": state.samples,
            "bytes_sent": state.bytes_sent,
            "losses": meter.state(),
            "best": vars(state.best) if state.best else None,
        }

        def write() -> None:
            checkpoint.save(self.folder / "checkpoints", saved, epoch=state.epoch, step=state.step)

        self.ranks.on_rank_zero(write)

    def restore(self) -> None:
        """Go back to the newest checkpoint that is whole; to the beginning if there is none.

        Raises:
            UserError: it is of a run with another method, group, data set or recipe.
            TrainingError: all checkpoints are damaged.
        """
        saved = checkpoint.load_newest(self.folder / "checkpoints")
        if saved is None:
            self.log.restore([])
            return
        check_same_run(json.loads(saved["identity"]), self.identity)
        self.method.load_state_dict(saved["method"])
        self.updater.optimizer.load_state_dict(saved["optimizer"])
        meter = LossMeter()
        if self.ranks.rank == 0 or self.ranks.shard == "members":  # what all had added up is one rank's now
            meter.load(saved["losses"], self.device)
        best = BestCheckpoint(**saved["best"]) if saved["best"] else None
        self.state = TrainState(saved["epoch"], saved["step"], saved["seconds"], saved["samples"], saved["bytes_sent"], meter, best)
        self.log.restore(json.loads(saved["history"]))


def compile_parts(parts: Sequence[nn.Module]) -> None:
    """Compile networks or modules, each as a whole."""
    # Blocks of one class have one `forward`, whose versions are counted together: for each part one to train, one to evaluate, and
    # one to make targets, with gradient and without, of a fixed and of any batch size.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 8 * len(parts) + 8)
    for part in parts:
        part.compile()


def shard_group(method: Method, ranks: DistContext, classes: int) -> None:
    """Let a method's students, or members, live on different ranks.

    Raises:
        UserError: they cannot.
    """
    if ranks.shard == "students" and method.partition().division == "none":
        raise UserError(
            "students can be spread over ranks if each learns from a share of its own; these learn from the same samples: "
            "take --shard samples, or members"
        )
    method.group.shard(ranks, classes)


def check_same_run(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise UserError, naming what differs, unless two identities are the same."""
    before, after = dict(_leaves(saved)), dict(_leaves(wanted))
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if differing:
        shown = "; ".join(f"{name} was {before.get(name)!r}, is {after.get(name)!r}" for name in differing[:4])
        raise UserError(
            f"cannot resume: the run in this folder was started differently ({shown}); "
            "resume with its own config.yaml, or take another --out"
        )


def _leaves(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, item in value.items():
        found += _leaves(item, f"{prefix}{name}.") if isinstance(item, Mapping) else [(prefix + name, item)]
    return found
