"""Deep mutual learning in studygroup, relative to an ordinary training loop: images per second.

Four ResNet-32 on 3 x 32 x 32, batch size 64. studygroup: `Trainer.run` with default options (precision, memory format, batched
augmentation). The loop: float32, a `DataLoader` over a data set that augments each sample (padding, random crop, flip), SGD. Only training
is measured. The images are noise of the size of CIFAR's, which costs as much time as photos.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from common import Row, defaults, main, maker, random_material, row, trainer_for, training_seconds
from studygroup.methods import DML
from studygroup.training import DataSplits, Settings
from studygroup.training.timing import interleave, quartiles, ratio, seconds_of

STUDENTS, TARGET, PADDING = 4, 2.0, 4
DEVICE, PRECISION, _ = defaults()


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Images in memory, augmented one by one on access."""

    def __init__(self, splits: DataSplits) -> None:
        self.images, self.labels = splits.train.gather(torch.arange(len(splits.train)))
        self.mean = torch.tensor(splits.dataset.images.mean).view(-1, 1, 1)
        self.std = torch.tensor(splits.dataset.images.std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = F.pad(self.images[index], (PADDING,) * 4)
        _, height, width = self.images.shape[1:]
        top, left = torch.randint(2 * PADDING + 1, (2,)).tolist()
        image = image[:, top : top + height, left : left + width]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image / 255 - self.mean) / self.std, self.labels[index]


class Loop:
    """A simple training loop of deep mutual learning."""

    def __init__(self, networks: list[nn.Module], splits: DataSplits, settings: Settings) -> None:
        self.networks = [network.to(DEVICE).train() for network in networks]
        self.loader = DataLoader(Images(splits), batch_size=settings.batch_size, shuffle=True)
        self.optimizer = torch.optim.SGD(
            [parameter for network in networks for parameter in network.parameters()],
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )

    def epoch(self) -> None:
        for images, labels in self.loader:
            images, labels = images.to(DEVICE), labels.to(DEVICE)
            loss = loss_of([network(images) for network in self.networks], labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def loss_of(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Return the sum of all students' losses."""
    loss = torch.zeros((), device=labels.device)
    for k, own in enumerate(logits):
        peers = [F.softmax(other.detach(), dim=1) for j, other in enumerate(logits) if j != k]
        log_own = F.log_softmax(own, dim=1)
        mimicry = sum(F.kl_div(log_own, peer, reduction="batchmean") for peer in peers) / len(peers)
        loss = loss + F.cross_entropy(own, labels) + mimicry
    return loss


def measure(repeats: int, quick: bool) -> list[Row]:
    student = "resnet8" if quick else "resnet32"
    settings = Settings(epochs=1, progress=False, batch_size=16 if quick else 64)
    splits = random_material(4 * settings.batch_size if quick else 12 * settings.batch_size, 0, (3, 32, 32))
    make = maker(student, splits)
    loop = Loop(make.students(STUDENTS), splits, settings)

    def product() -> float:
        with trainer_for(DML(students=STUDENTS), make, splits, settings) as run:
            run.run()
            return training_seconds(run)

    times = interleave({"product": product, "loop": lambda: seconds_of(loop.epoch, DEVICE)}, repeats)
    rates = {name: len(splits.train) / quartiles(seconds).value for name, seconds in times.items()}
    return [
        row(
            f"DML, {STUDENTS} x {student}, {PRECISION}, over a float32 loop: images per second",
            ratio(times["loop"], times["product"]),
            bound="at least",
            target=TARGET,
            details=f"{rates['product']:.0f} against {rates['loop']:.0f} images per second",
            figures={"seconds": times},
        )
    ]


if __name__ == "__main__":
    main(__doc__, measure, repeats=5)
