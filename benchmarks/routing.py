"""The speed of a fused CGL step, relative to a plain loop over the students: the same losses, gradients and precision.

K = 8 students, M = 2 modules per layer, p = 1/4, batch norm per student, on a chain with the shape of ResNet-18 at width 16 (stages of 16,
32, 64, 128 channels, two blocks each), images 3 x 32 x 32. In the loop, each student runs a forward pass on its own samples, and each route
that it imitates runs a forward pass on them without gradient. Losses and gradients of both are compared in float32 before any timing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from common import Row, defaults, main, row
from studygroup.allocator import kept_memory
from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Modular
from studygroup.groups.norm import RouteBatchNorm, replace_norms
from studygroup.methods import CGL
from studygroup.networks import Chain, NetworkFactory
from studygroup.networks.padded import Activation
from studygroup.networks.resnet import BasicBlock, resnet
from studygroup.training import Settings
from studygroup.training.meter import LossMeter
from studygroup.training.timing import computing_seconds, interleave, quartiles, ratio
from studygroup.training.updater import Updater

STUDENTS, MODULES, PROBABILITY, TEMPERATURE, CLASSES = 8, 2, 0.25, 3.0, 10
TARGETS = {8: 1.8, 64: 1.2}  # samples per student: how much faster the fused step is to be


def chain(num_classes: int, in_channels: int) -> Chain:
    return resnet(BasicBlock, (2, 2, 2, 2), (16, 16, 32, 64, 128), num_classes=num_classes, in_channels=in_channels)


def narrow_chain(num_classes: int, in_channels: int) -> Chain:
    return resnet(BasicBlock, (1, 1), (4, 4, 8), num_classes=num_classes, in_channels=in_channels)


DEVICE, PRECISION, LAYOUT = defaults()


def of_images(make: Callable[..., Chain]) -> NetworkFactory:
    return NetworkFactory(make, num_classes=CLASSES, in_channels=3)


def unassembled() -> CGL:
    return CGL(students=STUDENTS, modules=MODULES, probability=PROBABILITY, temperature=TEMPERATURE, bn="per_student", ramp_share=0.0)


def method(make: NetworkFactory, layout: torch.memory_format) -> CGL:
    cgl = unassembled()
    cgl.build(make)
    return cgl.to(device=DEVICE, memory_format=layout).train()  # type: ignore[call-overload, no-any-return]


class Loop:
    """The same step with ordinary modules and a `for` loop over the students."""

    def __init__(self, make: NetworkFactory, layout: torch.memory_format) -> None:
        group = Modular(make.copy, STUDENTS, MODULES, seed=make.seed)  # the seed gives both the same weights and routes
        replace_norms(group, lambda norm: cast(RouteBatchNorm, norm).to_batch_norm(0))  # a loop has ordinary modules
        self.group = group.to(device=DEVICE, memory_format=layout).train()  # type: ignore[call-overload]
        self.routes = [
            [layer.get_submodule(str(module)) for layer, module in zip(group.layers, route, strict=True)] for route in group.routes.tolist()
        ]
        self.norms = [module for module in group.modules() if isinstance(module, _BatchNorm)]
        self.dropouts = [module for module in group.modules() if isinstance(module, _DropoutNd)]

    def logits(self, student: int, inputs: Tensor) -> Tensor:
        x: Activation = inputs
        for module in self.routes[student]:
            x = module(x)
        return cast(Tensor, x)

    def losses(self, batch: Batch, subgroups: Sequence[Sequence[int]]) -> Tensor:
        assert batch.sizes is not None
        shares = list(zip(batch.inputs.split(batch.sizes), batch.labels.split(batch.sizes), strict=True))
        own = [self.logits(k, x) for k, (x, _) in enumerate(shares)]
        self.make_targets(True)
        with torch.no_grad():
            targets = [[self.logits(j, x) for j in subgroup] for (x, _), subgroup in zip(shares, subgroups, strict=True)]
        self.make_targets(False)
        total = torch.zeros((), device=DEVICE)
        for z, (_, labels), imitated in zip(own, shares, targets, strict=True):
            total = total + F.cross_entropy(z.float(), labels)
            if imitated:
                target = torch.stack(imitated).mean(0).float() / TEMPERATURE
                student = F.log_softmax(z.float() / TEMPERATURE, -1)
                total = total + TEMPERATURE**2 * F.kl_div(student, F.softmax(target, -1), reduction="batchmean")
        return total

    def make_targets(self, now: bool) -> None:
        """Switch to the mode for targets, or back: batch statistics without updates of the running ones, and no dropout."""
        for norm in self.norms:
            norm.track_running_stats = not now
        for dropout in self.dropouts:
            dropout.train(not now)


def batch_of(share: int, size: int, layout: torch.memory_format) -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(STUDENTS * share, 3, size, size, generator=generator).to(DEVICE, memory_format=layout)
    labels = torch.randint(CLASSES, (STUDENTS * share,), generator=generator).to(DEVICE)
    return Batch(inputs, labels, torch.arange(len(labels)).to(DEVICE), (share,) * STUDENTS)


def subgroups_of(cgl: CGL, clock: Clock) -> list[list[int]]:
    return cgl.subgroups.draw(clock.generator("subgroups"))


def check(make: NetworkFactory, batch: Batch, layout: torch.memory_format) -> float:
    """Return the largest relative difference of the two steps' gradients, in float32; raise if it is more than rounding.

    Differences are relative to at least a thousandth of the largest gradient: that of a bias before batch norm is only rounding.
    """
    cgl, loop = method(make, layout), Loop(make, layout)
    clock = Clock()
    with torch.backends.cudnn.flags(allow_tf32=False):  # TF32 has ten bits
        fused = sum(next(cgl.step(batch, clock)).values(), torch.zeros((), device=DEVICE))
        plain = loop.losses(batch, subgroups_of(cgl, clock))
        fused.backward()
        plain.backward()
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-4)
    group = cgl.group
    apart, least = 0.0, 1e-3 * max(float(p.grad.norm()) for p in loop.group.parameters() if p.grad is not None)
    for (name, one), (same, other) in zip(group.named_parameters(), loop.group.named_parameters(), strict=True):
        if name != same or (one.grad is None) != (other.grad is None):
            raise AssertionError(f"{name} and {same} do not have the same gradients")
        if one.grad is not None and other.grad is not None:
            apart = max(apart, float((one.grad - other.grad).norm() / other.grad.norm().clamp_min(least)))
    if apart > 1e-2:
        raise AssertionError(f"gradients differ by {apart:.2%}")
    return apart


def compare(make: NetworkFactory, batch: Batch, layout: torch.memory_format, precision: str, repeats: int) -> dict[str, list[float]]:
    """Measure the seconds of a step, fused and in a loop, with and without the optimizer."""
    settings = Settings(precision="bf16" if precision == "bf16" else "float32", schedule="constant")
    cgl, loop = method(make, layout), Loop(make, layout)
    updater = Updater(cgl, settings, DEVICE)
    optimizer = torch.optim.SGD(
        loop.group.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )
    autocast = partial(torch.autocast, DEVICE.type, dtype=torch.bfloat16, enabled=precision == "bf16")
    meter = LossMeter()
    steps = {name: iter(range(10**9)) for name in ("fused", "loop", "fused+", "loop+")}  # all draw the same subgroups

    def clock(name: str) -> Clock:
        return Clock(0, 1, next(steps[name]), 10**9)

    def fused() -> None:
        with autocast():
            losses = next(cgl.step(batch, clock("fused")))
            total = sum(losses.values(), torch.zeros((), device=DEVICE))
        total.backward()

    def plain(name: str) -> None:
        with autocast():
            total = loop.losses(batch, subgroups_of(cgl, clock(name)))
        total.backward()

    def plain_and_update() -> None:
        plain("loop+")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def timed(step: Callable[[], None]) -> float:
        seconds = computing_seconds(step, DEVICE)
        cgl.zero_grad(set_to_none=True)
        loop.group.zero_grad(set_to_none=True)
        return seconds

    return interleave(
        {
            "fused": partial(timed, fused),
            "loop": partial(timed, lambda: plain("loop")),
            "fused+": partial(timed, lambda: updater.step(batch, clock("fused+"), meter)),
            "loop+": partial(timed, plain_and_update),
        },
        repeats,
        warm_up=min(repeats, 2),
    )


@kept_memory()
def measure(repeats: int, quick: bool) -> list[Row]:
    make, size = (of_images(narrow_chain), 8) if quick else (of_images(chain), 32)
    rows = []
    for precision in dict.fromkeys((PRECISION, "float32")):
        used = LAYOUT if precision == PRECISION else torch.contiguous_format
        for share, target in TARGETS.items():
            share = 2 + share // 32 if quick else share
            batch = batch_of(share, size, used)
            apart = check(make, batch, used)
            times = compare(make, batch, used, precision, repeats if quick or share > 8 else 3 * repeats)
            for mark, what in (("", "forward, losses, backward"), ("+", "with the optimizer update")):
                loop, fused = (quartiles(times[name + mark]).value for name in ("loop", "fused"))
                rows.append(
                    row(
                        f"{share} samples per student, {precision}: {what}",
                        ratio(times[f"loop{mark}"], times[f"fused{mark}"]),
                        bound="at least",
                        target=target,
                        details=f"loop {1000 * loop:.0f} ms, fused {1000 * fused:.0f} ms; gradients agree to {apart:.0e}",
                        figures={"seconds": {"loop": times[f"loop{mark}"], "fused": times[f"fused{mark}"]}},
                    )
                )
    return rows


if __name__ == "__main__":
    main(__doc__, measure)
