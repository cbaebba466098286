"""Metrics that a method yields beside its losses, on their way to metrics.jsonl."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.distributed.context import SINGLE_PROCESS
from studygroup.groups import Independent
from studygroup.losses import cross_entropy
from studygroup.methods.method import Losses, Method, WithMetrics
from studygroup.networks import NetworkFactory
from studygroup.runs.member import Run
from studygroup.runs.reader import read_run
from studygroup.training.meter import LossMeter
from studygroup.training.settings import Settings
from studygroup.training.updater import Updater
from tests.methods.tiny import CLASSES, images, tiny


@dataclass(eq=False, kw_only=True)
class Counting(Method):
    """A student alone that says what it has seen: in two updates, of which only the first has metrics."""

    def build(self, networks: NetworkFactory) -> None:
        """Create the student."""
        self.group = Independent(networks.students(1))
        self.candidates = ("student0",)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update twice."""
        logits = self.group(batch.inputs)[0]
        metrics = {"student0/label": batch.labels.float().mean(), "student0/logit": logits.mean(), "clock/step": float(clock.step)}
        yield WithMetrics({"student0/cross_entropy": cross_entropy(logits, batch.targets)}, metrics)
        yield {"student0/decay": 1e-3 * torch.stack([p.square().sum() for p in self.group.parameters()]).sum()}


def updater_of(microbatches: int = 1) -> Updater:
    method = Counting()
    method.build(NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, seed=0))
    method.eval()
    settings = Settings(epochs=1, batch_size=12, learning_rate=1e-9, precision="float32", microbatches=microbatches)
    return Updater(method, settings, torch.device("cpu"))


def batches() -> list[Batch]:
    found = []
    for number, size in enumerate((12, 12, 7)):
        labels = torch.randint(0, CLASSES, (size,), generator=torch.Generator().manual_seed(number))
        found.append(Batch(images(size, seed=number), labels, torch.arange(size)))
    return found


@pytest.mark.parametrize("microbatches", [1, 3, 5])
def test_the_mean_of_an_epoch_is_over_its_steps(microbatches: int) -> None:
    updater, meter = updater_of(microbatches), LossMeter()
    for step, batch in enumerate(batches()):
        updater.step(batch, Clock(0, 1, step, 3), meter)
    means = [float(batch.labels.float().mean()) for batch in batches()]
    found = meter.metrics.means()
    assert found.keys() == {"student0/label", "student0/logit", "clock/step"}
    assert found["student0/label"] == pytest.approx(sum(means) / 3)
    assert found["clock/step"] == pytest.approx(1.0)
    assert meter.losses.means().keys() == {"student0/cross_entropy", "student0/decay"}


def test_metrics_teach_nothing() -> None:
    updater, meter = updater_of(), LossMeter()
    losses = next(updater.method.step(batches()[0], Clock()))
    assert isinstance(losses, WithMetrics)
    assert losses.metrics["student0/logit"].requires_grad  # type: ignore[union-attr]
    meter.add(losses, lambda name: 1.0)
    assert not any(torch.as_tensor(total).requires_grad for total in meter.metrics.sums.values())
    assert list(losses) == ["student0/cross_entropy"], "what is summed and minimised"


def test_a_metric_that_is_no_number_stops_nothing() -> None:
    meter = LossMeter()
    meter.add(WithMetrics({"student0/loss": torch.ones(())}, {"student0/ratio": float("nan")}), lambda name: 1.0)
    meter.check(Clock())


def test_the_state_of_the_meter_is_exact() -> None:
    """Interrupted after any step, saved as in a checkpoint and loaded, it ends with the same bits."""
    added = [WithMetrics({"student0/loss": torch.rand(())}, {"student0/a": 1 / (n + 3), "b/c": torch.rand(())}) for n in range(9)]
    whole = LossMeter()
    for losses in added:
        whole.add(losses, lambda name: 0.3)
    for stop in range(10):
        first, second = LossMeter(), LossMeter()
        for losses in added[:stop]:
            first.add(losses, lambda name: 0.3)
        file = io.BytesIO()
        torch.save(first.merged(SINGLE_PROCESS).state(), file)
        file.seek(0)
        second.load(torch.load(file, weights_only=True), torch.device("cpu"))
        for losses in added[stop:]:
            second.add(losses, lambda name: 0.3)
        assert second.metrics.means() == whole.metrics.means()
        assert second.losses.means() == whole.losses.means()


def test_the_state_of_an_earlier_version_has_no_metrics() -> None:
    meter = LossMeter()
    meter.load({"sums": {"student0/loss": torch.ones(())}, "counts": {"student0/loss": 2.0}}, torch.device("cpu"))
    assert meter.losses.means() == {"student0/loss": 0.5}
    assert meter.metrics.means() == {}


def test_a_run_writes_them(train: Callable[..., Run], teacher: Path) -> None:
    run = train(method="orc", teacher=teacher)
    lines = [json.loads(line) for line in run.files.metrics.read_text().splitlines()]
    assert [line["steps"] for line in lines] == [5, 5]
    for line, epoch in zip(lines, read_run(run.folder).epochs, strict=True):
        assert line["metrics"] == epoch["metrics"]
        promoted = [line["metrics"][f"student{k}/promoted"] for k in range(3)]
        assert sum(promoted) == pytest.approx(1.0)
        assert all(share * 5 == pytest.approx(round(share * 5)) for share in promoted)
        assert sum(line["metrics"][f"student{k}/fed"] for k in range(3)) == pytest.approx(1.0)
    assert train(method="baseline", out=run.folder.parent / "alone").files.metrics.read_text().count('"metrics": {}') == 2
