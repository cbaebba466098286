"""Small networks, batches and updates for the tests of groups and methods."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.methods import Losses, Method, create_method
from studygroup.networks import Chain, Maker
from studygroup.networks.chain import Pool
from studygroup.networks.maker import Spec

CLASSES = 4
SAMPLES = 12


def layer(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def tiny(num_classes: int = CLASSES, in_channels: int = 1, width: int = 4) -> Chain:
    """A stem, three blocks and a head."""
    return Chain(
        {
            "stem": {"stem": layer(in_channels, width)},
            "stage1": {"first": layer(width, width), "second": layer(width, width)},
            "stage2": {"third": layer(width, 2 * width, 2)},
            "head": {"pool": Pool(), "classifier": nn.Linear(2 * width, num_classes)},
        }
    )


def wider(num_classes: int = CLASSES, in_channels: int = 1) -> Chain:
    return tiny(num_classes, in_channels, width=6)


class Plain(nn.Module):
    """A network that is no chain."""

    def __init__(self, num_classes: int = CLASSES, in_channels: int = 1) -> None:
        super().__init__()
        self.body = layer(in_channels, 4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).mean((2, 3)))
        return out


def trained_teacher() -> nn.Module:
    """A wider network whose running statistics are not those of a fresh one."""
    return copy.deepcopy(_teacher())


@cache
def _teacher() -> nn.Module:
    teacher = Maker(wider, num_classes=CLASSES, in_channels=1, seed=99).student(0).train()
    with torch.no_grad():
        for number in range(3):
            teacher(images(SAMPLES, seed=1000 + number))
    return teacher


def images(count: int, *, seed: int) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def batch_for(method: Method, number: int = 0, count: int = SAMPLES, sizes: tuple[int, ...] | None = None) -> Batch:
    """Batch `number`, dealt unevenly to the method's students if the method has its batches dealt, in as many views as it wants."""
    dealing = method.dealing()
    if sizes is None and dealing.division != "none":
        cuts = [count * k * (k + 1) // (dealing.students * (dealing.students + 1)) for k in range(dealing.students + 1)]
        sizes = tuple(high - low for low, high in pairwise(cuts))
    labels = torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(500 + number))
    views = tuple(images(count, seed=number + 10_000 * view) for view in range(dealing.views))
    return Batch(views[0], labels, torch.arange(count), sizes, views if dealing.views > 1 else ())


def maker(
    spec: Spec = tiny,
    *,
    seed: int = 0,
    peers: tuple[Spec, ...] = (),
    teacher: nn.Module | None = None,
    more_teachers: Sequence[nn.Module] = (),
) -> Maker:
    """What makes networks for the images and labels of these tests."""
    labels = torch.arange(SAMPLES) % CLASSES
    shape: dict[str, Any] = {"num_classes": CLASSES, "in_channels": 1, "image_size": (8, 8)}
    return Maker(spec, **shape, seed=seed, peers=peers, teacher=teacher, more_teachers=more_teachers, labels=labels)


def assistants(method: Method) -> list[nn.Module]:
    """As many networks as the method has assistants, each with weights of its own."""
    count = len(method.options().get("assistants") or ())
    return [Maker(tiny, num_classes=CLASSES, in_channels=1, seed=90 - number).student(0) for number in range(count)]


def assembled(
    name: str, options: Mapping[str, Any] | None = None, *, spec: Spec = tiny, peers: tuple[Spec, ...] = (), seed: int = 0
) -> Method:
    method = create_method(name, options)
    teacher = trained_teacher() if method.needs_teacher else None
    method.assemble(maker(spec, seed=seed, peers=peers, teacher=teacher, more_teachers=assistants(method)))
    return method.train()


def optimizer_of(method: Method, kind: str = "sgd") -> torch.optim.Optimizer:
    groups = [{"params": parameters} for parameters in method.parameter_sets().values()]
    if kind == "adam":
        return torch.optim.Adam(groups, lr=0.01, weight_decay=0.01)
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.01)


def updates(method: Method, optimizer: torch.optim.Optimizer, batch: Batch, clock: Clock | None = None) -> Iterator[Losses]:
    """One step, update by update; each pauses after its backward pass, before the optimiser moves anything."""
    optimizer.zero_grad(set_to_none=True)
    for losses in method.step(batch, clock or Clock()):
        torch.stack(list(losses.values())).sum().backward()
        yield losses
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def train(method: Method, optimizer: torch.optim.Optimizer, steps: range) -> list[dict[str, float]]:
    """The losses of every update of some steps of a run of 4 epochs of 2 steps."""
    found = []
    for step in steps:
        clock = Clock(epoch=step // 2, epochs=4, step=step % 2, steps=2, seed=3)
        found += [
            {name: float(loss.detach()) for name, loss in losses.items()}
            for losses in updates(method, optimizer, batch_for(method, step), clock)
        ]
    return found


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights and buffers."""
    return {name: value.detach().clone() for name, value in (*module.named_parameters(), *module.named_buffers())}
