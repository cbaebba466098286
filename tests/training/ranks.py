"""Short runs for the tests of ranks, which play them in separate processes."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn as start

from studygroup.data import ImageTransform, Unlabelled
from studygroup.data.dataset import Split
from studygroup.data.texts.ragged import Ragged
from studygroup.data.transforms import TokenTransform, Transform
from studygroup.distributed.context import DistContext, init_distributed
from studygroup.methods import AB, FSP, FT, create_method
from studygroup.networks import Chain, NetworkFactory
from studygroup.networks.chain import Pool
from studygroup.options import Sharding
from studygroup.training.settings import Settings
from studygroup.training.step_runner import StepRunner
from studygroup.training.trainer import Trainer, shard_group
from tests.methods.tiny import CLASSES, assistants, sentences, shape_of, tiny, tiny_text, trained_teacher

SAMPLES, HELD = 52, 14


class Double(ImageTransform):
    """Inputs in float64, so that rounding differs far less than a mistake would change."""

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        return super().__call__(raw, seed=seed, rows=rows, total=total).double()


def normless(num_classes: int = CLASSES, in_channels: int = 1) -> Chain:
    """A chain without batch norm."""

    def layer(channels: int, width: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, width, 3, stride, padding=1), nn.Tanh())

    return Chain(
        {
            "stem": {"stem": layer(in_channels, 4)},
            "stage1": {"first": layer(4, 4), "second": layer(4, 4)},
            "stage2": {"third": layer(4, 8, 2)},
            "head": {"pool": Pool(), "classifier": nn.Linear(8, num_classes)},
        }
    )


@dataclass(frozen=True)
class Scene:
    """A short run: a method or its first stage, what is sharded over ranks, settings, teachers, and the share without labels."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shard: Sharding = "samples"
    norms: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    first: bool = False
    texts: bool = False
    teachers: int = 1
    unlabelled: float = 0.0


def trainer_of(scene: Scene, ranks: DistContext, folder: Path) -> Trainer:
    """Create a trainer on random images of 8x8, or on texts."""
    generator = np.random.default_rng(0)
    inputs: Any = generator.integers(0, 256, (SAMPLES + HELD, 1, 8, 8), dtype=np.uint8)
    prepare: Transform = Double((1, 8, 8), (0.5,), (0.25,), "crop+flip")
    if scene.texts:
        assert scene.norms, "all chains of texts have batch norm here"
        inputs = Ragged.of([row[row > 0] for row in sentences(SAMPLES + HELD, seed=0).numpy()])
        prepare = TokenTransform(torch.device("cpu"))
    labels = generator.integers(0, CLASSES, SAMPLES + HELD)
    everything = Split(inputs, labels)
    train, held = everything.take(np.arange(SAMPLES)), everything.take(np.arange(SAMPLES, SAMPLES + HELD))
    settings = Settings(**{"epochs": 2, "batch_size": 16, "precision": "float32", "progress": False, **scene.settings})
    method = create_method(scene.method, dict(scene.options))
    network = tiny_text if scene.texts else tiny if scene.norms else normless
    more_teachers = assistants(method)
    if scene.teachers > 1:
        make = NetworkFactory(network, num_classes=CLASSES, in_channels=1, seed=80)
        more_teachers += [make.copy(number) for number in range(1, scene.teachers)]
    if scene.first:
        assert isinstance(method, AB | FSP | FT)
        method = method.initial()
    teacher = None
    if method.needs_teacher:
        teacher = (
            trained_teacher(scene.texts)
            if scene.norms
            else NetworkFactory(normless, num_classes=CLASSES, in_channels=1, seed=77).student(0)
        )
    shape: dict[str, Any] = {"num_classes": CLASSES, **shape_of(scene.texts)}
    known = torch.from_numpy(train.labels)
    factory = NetworkFactory(network, **shape, seed=1, teacher=teacher, more_teachers=more_teachers, labels=known)
    accuracies = iter((0.5, 0.3, 0.4))
    factory.holdout_accuracy = lambda _: next(accuracies)
    method.build(factory)
    method.double()
    if ranks.is_distributed and ranks.shard != "samples":
        shard_group(method, ranks, CLASSES)
    more = Split(inputs, np.full(SAMPLES + HELD, -1))
    unlabelled = Unlabelled(more, scene.unlabelled, "more", "key") if scene.unlabelled else None
    runner = StepRunner(method, train, prepare, settings, ranks, unlabelled=unlabelled)
    return Trainer(runner, held, folder, identity={"scene": repr(scene.method)})


class Stopped(Exception):
    """Raised to interrupt a run in the middle of a step."""


def play(scene: Scene, ranks: DistContext, folder: Path, *, resume: bool = False, stop_after: int | None = None) -> dict[str, Any]:
    """Train, and return the outcome; nothing if the run is interrupted after `stop_after` steps."""
    trainer = trainer_of(scene, ranks, folder)
    steps = iter(range(stop_after) if stop_after is not None else count())
    step = trainer.updater.step

    def step_or_stop(*arguments: Any) -> None:
        if next(steps, None) is None:
            raise Stopped
        step(*arguments)

    trainer.updater.step = step_or_stop  # type: ignore[assignment, method-assign]
    try:
        best = trainer.run(resume=resume)
    except Stopped:
        return {}
    return {
        "weights": {name: value.detach().clone() for name, value in trainer.method.state_dict().items() if isinstance(value, Tensor)},
        "history": trainer.log.history,
        "best": (best.member, best.epoch),
        "momentum": [dict(trainer.updater.optimizer.state[p]) for p in trainer.updater.parameters],
        "sent": ranks.bytes_sent,
    }


def in_ranks(size: int, work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """Run `work(rank, *arguments)` in separate processes of one group; return their results by rank."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    start(_process, (size, port, work, folder, arguments), nprocs=size)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(size)]  # written a moment ago, by ourselves


def _process(rank: int, size: int, port: int, work: Callable[..., Any], folder: Path, arguments: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size), OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    torch.save(work(rank, *arguments), folder / f"rank{rank}.pt")


def play_all(rank: int, scenes: list[Scene], folder: Path, resume: bool = False, stop_after: int | None = None) -> list[dict[str, Any]]:
    """Play scenes one after the other in one process group."""
    found = []
    with init_distributed() as ranks:
        for number, scene in enumerate(scenes):
            own = DistContext(ranks.rank, ranks.world_size, scene.shard)
            own._rank_zero_calls = 1000 * number
            found.append(play(scene, own, folder / f"scene{number}", resume=resume, stop_after=stop_after))
    return found
