"""The time of the whole trainer, relative to a bare loop over tensors in memory: the overhead of data, augmentation, logs and checkpoints.

One epoch of 5,000 images of 1 x 28 x 28 (Fashion-MNIST if it is on this machine), batch size 64: `Trainer.run` with default options, and a
loop with the same network, optimizer, precision, memory format and steps, but without augmentation and without files. Measured are training
alone, and training with the evaluation of 1,000 hold-out images (the loop evaluates, too) and the checkpoint and metrics of the trainer.
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from common import Row, clothes, defaults, main, maker, row, trainer_for, training_seconds
from studygroup.data import Split, Transform
from studygroup.methods import Baseline
from studygroup.networks import NetworkFactory
from studygroup.training import DataSplits, Settings
from studygroup.training.timing import interleave, quartiles, ratio, seconds_of, wait_for

TARGET = 1.05
DEVICE, PRECISION, LAYOUT = defaults()


class Bare:
    """The loop that anyone would write, with everything in memory."""

    def __init__(self, make: NetworkFactory, splits: DataSplits, settings: Settings) -> None:
        dataset = splits.dataset
        preprocess = dataset.inputs.transform(DEVICE, LAYOUT)
        self.images, self.labels = in_memory(splits.train, preprocess)
        self.holdout = in_memory(splits.holdout, preprocess)
        self.batch_size = settings.batch_size
        self.network = make.student(0).to(device=DEVICE, memory_format=LAYOUT)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )

    def train(self) -> None:
        self.network.train()
        for chosen in torch.randperm(len(self.labels), device=DEVICE).split(self.batch_size):
            inputs, labels = self.images[chosen], self.labels[chosen]
            with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=PRECISION == "bf16"):
                logits = self.network(inputs)
            loss = F.cross_entropy(logits.float(), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def evaluate(self) -> float:
        self.network.eval()
        correct = torch.zeros((), device=DEVICE)
        for inputs, labels in zip(self.holdout[0].split(500), self.holdout[1].split(500), strict=True):
            with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=PRECISION == "bf16"):
                logits = self.network(inputs)
            correct += (logits.argmax(-1) == labels).sum()
        return float(correct) / len(self.holdout[1])


def in_memory(split: Split, preprocess: Transform) -> tuple[Tensor, Tensor]:
    raw, labels = split.gather(torch.arange(len(split)))
    return preprocess(raw), labels.to(DEVICE)


def compare(student: str, splits: DataSplits, settings: Settings, repeats: int) -> dict[str, list[float]]:
    """Seconds of an epoch of training and of all of it, by the trainer and by the loop."""
    times: dict[str, list[float]] = {"trainer, training": [], "loop, training": []}
    make = maker(student, splits)
    bare = Bare(make, splits, settings)

    def whole() -> float:
        with trainer_for(Baseline(), make, splits, settings) as run:
            wait_for(DEVICE)
            start = time.perf_counter()
            run.run()
            wait_for(DEVICE)
            seconds = time.perf_counter() - start
            times["trainer, training"].append(training_seconds(run))
        return seconds

    def loop() -> float:
        training = seconds_of(bare.train, DEVICE)
        times["loop, training"].append(training)
        return training + seconds_of(bare.evaluate, DEVICE)

    found = interleave({"trainer": whole, "loop": loop}, repeats)
    return found | {name: seconds[-repeats:] for name, seconds in times.items()}  # without the warm-up


def measure(repeats: int, quick: bool) -> list[Row]:
    splits = clothes(128 if quick else 5000, 64 if quick else 1000, quick=quick)
    settings = Settings(epochs=1, progress=False)
    rows = []
    for student in ("resnet8",) if quick else ("resnet20", "resnet8"):
        times = compare(student, splits, settings, repeats)
        for name, one, other in (
            ("training", "trainer, training", "loop, training"),
            ("with evaluation, checkpoint and metrics", "trainer", "loop"),
        ):
            medians = [quartiles(times[what]).value for what in (one, other)]
            rows.append(
                row(
                    f"{student}: {name}",
                    ratio(times[one], times[other]),
                    target=TARGET,
                    details=f"an epoch takes the trainer {medians[0]:.2f} s, the loop {medians[1]:.2f} s",
                    figures={"seconds": {one: times[one], other: times[other]}},
                )
            )
    return rows


if __name__ == "__main__":
    main(__doc__, measure)
