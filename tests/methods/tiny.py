"""Small networks, batches and updates for the tests of groups and methods."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.methods import Losses, Method, create_method
from studygroup.networks import Chain, NetworkFactory
from studygroup.networks.chain import Pool
from studygroup.networks.factory import Spec
from studygroup.networks.layers import TokenEmbedding
from studygroup.networks.transformer import MeanPool, TransformerBlock
from studygroup.networks.vdcnn import ConvolutionBlock, Stem

CLASSES = 4
SAMPLES = 12
VOCABULARY = 11
LENGTH = 9


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


def tiny_text(num_classes: int = CLASSES, vocabulary: int = VOCABULARY, width: int = 4) -> Chain:
    """An embedding, a stem, three blocks, two of them with batch norm over positions, and a head."""
    return Chain(
        {
            "embedding": {"embedding": TokenEmbedding(vocabulary, 6)},
            "stem": {"stem": Stem(6, width)},
            "stage1": {
                "first": TransformerBlock(width, heads=2, feedforward=8, dropout=0.0),
                "second": ConvolutionBlock(width, width, halve=False, shortcut=False),
            },
            "stage2": {"third": ConvolutionBlock(width, 2 * width, halve=False, shortcut=True)},
            "head": {"pool": MeanPool(), "classifier": nn.Linear(2 * width, num_classes)},
        }
    )


def wider_text(num_classes: int = CLASSES, vocabulary: int = VOCABULARY) -> Chain:
    return tiny_text(num_classes, vocabulary, width=6)


class Plain(nn.Module):
    """A network that is no chain."""

    def __init__(self, num_classes: int = CLASSES, in_channels: int = 1) -> None:
        super().__init__()
        self.body = layer(in_channels, 4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).mean((2, 3)))
        return out


class PlainText(nn.Module):
    """A network of texts that is no chain, and shows no masks."""

    def __init__(self, num_classes: int = CLASSES, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, 5)
        self.head = nn.Linear(5, num_classes)

    def forward(self, ids: Tensor) -> Tensor:
        mask = (ids != 0).unsqueeze(-1)
        out: Tensor = self.head((self.words(ids) * mask).sum(1) / mask.sum(1).clamp_min(1))
        return out


def trained_teacher(texts: bool = False) -> nn.Module:
    """A wider network whose running statistics are not those of a fresh one."""
    return copy.deepcopy(_teacher(texts))


@cache
def _teacher(texts: bool) -> nn.Module:
    teacher = NetworkFactory(wider_text if texts else wider, num_classes=CLASSES, **shape_of(texts), seed=99).student(0).train()
    with torch.no_grad():
        for number in range(3):
            teacher((sentences if texts else images)(SAMPLES, seed=1000 + number))
    return teacher


def shape_of(texts: bool) -> dict[str, Any]:
    """Return the arguments of `NetworkFactory` for the inputs."""
    return {"vocabulary": VOCABULARY} if texts else {"in_channels": 1, "image_size": (8, 8)}


def images(count: int, *, seed: int) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def sentences(count: int, *, seed: int, length: int = LENGTH) -> Tensor:
    """Ids (count, length) of texts of all lengths from none to `length`."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (count, length), generator=generator)
    lengths = torch.randint(0, length + 1, (count, 1), generator=generator)
    lengths[0] = length
    return ids * (torch.arange(length) < lengths)


def padded(batch: Batch, more: int) -> Batch:
    """The same texts among longer ones: with more padding behind them."""
    return replace(batch, inputs=F.pad(batch.inputs, (0, more)))


def reads_texts(method: nn.Module) -> bool:
    return any(isinstance(module, nn.Embedding) for module in method.modules())


def inputs_for(method: nn.Module, count: int, *, seed: int) -> Tensor:
    """Images, or texts if the networks are made for them."""
    return (sentences if reads_texts(method) else images)(count, seed=seed)


def batch_for(method: Method, number: int = 0, count: int = SAMPLES, sizes: tuple[int, ...] | None = None) -> Batch:
    """Return batch `number`, partitioned unevenly among the students if the method partitions batches, with the method's views."""
    partition = method.partition()
    if sizes is None and partition.division != "none":
        cuts = [count * k * (k + 1) // (partition.students * (partition.students + 1)) for k in range(partition.students + 1)]
        sizes = tuple(high - low for low, high in pairwise(cuts))
    labels = torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(500 + number))
    views = tuple(inputs_for(method, count, seed=number + 10_000 * view) for view in range(partition.views))
    return Batch(views[0], labels, torch.arange(count), sizes, views if partition.views > 1 else ())


def maker(
    spec: Spec | None = None,
    *,
    seed: int = 0,
    peers: tuple[Spec, ...] = (),
    teacher: nn.Module | None = None,
    more_teachers: Sequence[nn.Module] = (),
    texts: bool = False,
) -> NetworkFactory:
    """Return a factory of networks for the images, or the texts, and the labels of these tests."""
    spec = spec or (tiny_text if texts else tiny)
    labels = torch.arange(SAMPLES) % CLASSES
    shape = {"num_classes": CLASSES, **shape_of(texts)}
    return NetworkFactory(spec, **shape, seed=seed, peers=peers, teacher=teacher, more_teachers=more_teachers, labels=labels)


def assistants(method: Method) -> list[nn.Module]:
    """As many networks as the method's last stage learns from beside the teacher, each with weights of its own."""
    count = len(method.stages()[-1].teachers) - 1 if method.options().get("assistants") else 0
    return [NetworkFactory(tiny, num_classes=CLASSES, in_channels=1, seed=90 - number).student(0) for number in range(count)]


def built_method(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    spec: Spec | None = None,
    peers: tuple[Spec, ...] = (),
    seed: int = 0,
    texts: bool = False,
) -> Method:
    method = create_method(name, options)
    teacher = trained_teacher(texts) if method.needs_teacher else None
    method.build(maker(spec, seed=seed, peers=peers, teacher=teacher, more_teachers=assistants(method), texts=texts))
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
    method.after_step(clock or Clock())


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
