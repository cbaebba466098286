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
from studygroup.data import Batches, Prepare, Split, evaluation_batches
from studygroup.errors import UserError
from studygroup.groups import Frozen, recalibrate_bn
from studygroup.methods.method import Method
from studygroup.distributed.context import ALONE, Ranks
from studygroup.training import checkpoint
from studygroup.training.evaluate import Scores, score
from studygroup.runs.metrics import Log
from studygroup.training.progress import Progress
from studygroup.training.settings import Settings
from studygroup.training.signals import StopRequest
from studygroup.training.updater import Ledger, Updater

EVALUATION_BATCH = 500
CHECKED_EVERY = 50  # steps between looks at the losses on a device where a look is a synchronisation
RECALIBRATION_BATCHES = 50


class Interrupted(KeyboardInterrupt):
    """A run that was asked to stop and saved itself; the message says how to go on."""


@dataclass
class Best:
    """The member and epoch with the highest hold-out accuracy so far; `weights` are those of the plain network."""

    member: str
    epoch: int
    accuracy: float | None
    cross_entropy: float | None
    weights: dict[str, Tensor]


@dataclass
class Moment:
    """Where a run stands: `epoch` epochs and `step` steps of the next are done."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    sent: float = 0.0  # bytes
    ledger: Ledger = field(default_factory=Ledger)
    best: Best | None = None


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
        preprocess: Prepare,
        settings: Settings,
        folder: Path,
        *,
        identity: Mapping[str, object],
        title: str = "train",
        resume_hint: str = "--resume",
        ranks: Ranks = ALONE,
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
            dealing=method.dealing(),
            seed=settings.seed,
            ranks=ranks,
            whole_batch=method.whole_batch,
        )
        self.updater = Updater(method, settings, self.device, ranks)
        self.log = Log(folder, tensorboard=settings.tensorboard, writes=ranks.rank == 0)
        self.now = Moment()
        if settings.compile:
            frozen = [module.network for module in method.modules() if isinstance(module, Frozen)]
            compile_parts([*method.group.parts(), *method.others().values(), *frozen])

    def run(self, *, resume: bool = False) -> Best:
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
                while self.now.epoch < self.settings.epochs:
                    self.run_epoch(steps, stop, bars)
        finally:
            bars.close()
            self.log.close()
        assert self.now.best is not None
        return self.now.best

    def run_epoch(self, steps: int, stop: StopRequest, bars: Progress) -> None:
        """The rest of the running epoch, then evaluation, record and checkpoint."""
        now = self.now
        started, before = time.perf_counter(), now.seconds
        sent = now.sent - self.ranks.sent
        batches = self.batches.epoch(now.epoch, now.step)
        while now.step < steps:
            batch = next(batches)
            clock = Clock(now.epoch, self.settings.epochs, now.step, steps, self.settings.seed)
            own = (self.ranks.rank,) if self.ranks.many else ()
            torch.manual_seed(randomness.derive(self.settings.seed, "step", now.epoch, now.step, *own))  # dropout
            self.updater.learn(batch, clock, now.ledger)
            now.step += 1
            now.samples += sum(batch.part.sizes) if batch.part is not None else len(batch)
            now.seconds = before + time.perf_counter() - started
            now.sent = sent + self.ranks.sent
            looks = self.device.type == "cpu" or now.step % CHECKED_EVERY == 0
            if self.device.type != "cpu" and looks:
                now.ledger.check(clock)
            bars.step(now.epoch, now.step)
            every = self.settings.checkpoint_steps
            stops = self.ranks.anyone(stop.asked) if looks or not self.ranks.many else False
            if stops or (every and now.step % every == 0 and now.step < steps):
                now.ledger.check(clock)
                self.save()
            if stops:
                raise Interrupted(
                    f"stopped after epoch {now.epoch}, step {now.step} of the next; everything is saved. Go on with: {self.resume_hint}"
                )
        now.ledger.check(Clock(now.epoch, self.settings.epochs, steps - 1, steps, self.settings.seed))
        now.seconds = before + time.perf_counter() - started
        self.finish_epoch(bars)

    def finish_epoch(self, bars: Progress) -> None:
        """Evaluate, select, record and save."""
        now = self.now
        self.tell_private()
        networks = self.recalibrated() if self.settings.recalibrate else None
        scores = self.score(self.holdout, networks) if len(self.holdout) else None
        self.select(scores, networks)
        record = {
            "epoch": now.epoch,
            "seconds": round(now.seconds, 4),
            "samples_per_second": round(now.samples / max(now.seconds, 1e-9), 2),
            "learning_rate": self.settings.learning_rate * self.settings.rate(now.epoch, now.epoch + 1),
            "losses": now.ledger.joined(self.ranks).means(),
            "holdout": scores.accuracy if scores else {},
            "holdout_cross_entropy": scores.cross_entropy if scores else {},
            "diversity": scores.diversity if scores else None,
        }
        if self.ranks.many:
            record["bytes_sent"] = round(now.sent / max(now.step, 1))
        self.now = Moment(epoch=now.epoch + 1, best=now.best)
        self.log.history.append(record)
        self.save()
        self.log.append(record)
        bars.epoch(record)

    def select(self, scores: Scores | None, networks: Mapping[str, nn.Module] | None) -> None:
        """Keep the candidate with the best hold-out accuracy so far; ties go to the lower cross-entropy, then to the earlier one."""
        now = self.now
        last = now.epoch + 1 == self.settings.epochs
        if not last and (scores is None or self.settings.select_from == "last"):
            return
        if scores is None:
            warnings.warn("there is no hold-out set to select by: the first student after the last epoch is taken", stacklevel=2)
            name = self.method.candidates[0]
        else:
            rank = {name: (-scores.accuracy[name], scores.cross_entropy[name]) for name in self.method.candidates}
            name = min(rank, key=rank.__getitem__)
            best = now.best
            if (
                best is not None
                and best.accuracy is not None
                and best.cross_entropy is not None
                and rank[name] >= (-best.accuracy, best.cross_entropy)
            ):
                return
        network = networks[name] if networks else self.method.export(name)
        weights = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
        now.best = Best(name, now.epoch, scores.accuracy[name] if scores else None, scores.cross_entropy[name] if scores else None, weights)

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
            inputs = (batch.inputs for batch in islice(batches.epoch(self.now.epoch), RECALIBRATION_BATCHES))
            network = self.method.export(name).eval()
            found[name] = recalibrate_bn(network, inputs, run=lambda module, x: self.updater.forward(lambda: {"logits": module(x)}))
        return found

    def tell_private(self) -> None:
        """Give every rank what only the rank of a student knows: its weights, their optimiser's state, its statistics."""
        if not self.ranks.many or self.ranks.spread == "samples":
            return
        self.method.group.tell()
        if self.ranks.spread == "members":
            self.updater.tell_state()

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        now = self.now
        if now.step:
            self.tell_private()
        ledger = now.ledger.joined(self.ranks)
        state = {
            "identity": json.dumps(self.identity),
            "history": json.dumps(self.log.history),
            "method": self.method.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
            "epoch": now.epoch,
            "step": now.step,
            "seconds": now.seconds,
            "samples": now.samples,
            "sent": now.sent,
            "ledger": ledger.state(),
            "best": vars(now.best) if now.best else None,
        }

        def write() -> None:
            checkpoint.save(self.folder / "checkpoints", state, epoch=now.epoch, step=now.step)

        self.ranks.first(write)

    def restore(self) -> None:
        """Go back to the newest checkpoint that is whole; to the beginning if there is none.

        Raises:
            UserError: it is of a run with another method, group, data set or recipe.
            TrainingError: all checkpoints are damaged.
        """
        state = checkpoint.load_newest(self.folder / "checkpoints")
        if state is None:
            self.log.restore([])
            return
        same_run(json.loads(state["identity"]), self.identity)
        self.method.load_state_dict(state["method"])
        self.updater.optimizer.load_state_dict(state["optimizer"])
        ledger = Ledger()
        if self.ranks.rank == 0 or self.ranks.spread == "members":  # what all had added up is one rank's now
            ledger.load(state["ledger"], self.device)
        best = Best(**state["best"]) if state["best"] else None
        self.now = Moment(state["epoch"], state["step"], state["seconds"], state["samples"], state["sent"], ledger, best)
        self.log.restore(json.loads(state["history"]))


def compile_parts(parts: Sequence[nn.Module]) -> None:
    """Compile networks or modules, each as a whole."""
    # Blocks of one class have one `forward`, whose versions are counted together: for each part one to train, one to evaluate, and
    # one to make targets, with gradient and without, of a fixed and of any batch size.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 8 * len(parts) + 8)
    for part in parts:
        part.compile()


def spread(method: Method, ranks: Ranks, classes: int) -> None:
    """Let a method's students, or members, live on different ranks.

    Raises:
        UserError: they cannot.
    """
    if ranks.spread == "students" and method.dealing().division == "none":
        raise UserError(
            "students can be spread over ranks if each learns from a share of its own; these learn from the same samples: "
            "take --spread samples, or members"
        )
    method.group.spread(ranks, classes)


def same_run(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
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
