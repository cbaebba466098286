"""The time of an ORC iteration, relative to the sum of its parts, each timed alone in the same precision: the overhead of the method.

Three ResNet-8 students and a ResNet-20 pivot on 1 x 28 x 28, batch size 64. The parts: 6 forward passes, 4 backward passes, the losses
(with the selection of the feedback, mixup and the backward pass to the logits), and the optimizer updates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Row, clothes, defaults, exact, main, maker, row
from studygroup.allocator import kept_memory
from studygroup.clock import Clock
from studygroup.data import Batches
from studygroup.methods import ORC
from studygroup.training import Settings
from studygroup.training.meter import LossMeter
from studygroup.training.timing import computing_seconds, interleave, quartiles, ratio
from studygroup.training.updater import Updater

ALPHA, TEMPERATURE, TARGET = 0.3, 4.0, 1.10
DEVICE, PRECISION, LAYOUT = defaults()
autocast = partial(torch.autocast, DEVICE.type, dtype=torch.bfloat16, enabled=PRECISION == "bf16")


def forward(network: nn.Module, inputs: Tensor) -> Tensor:
    with autocast():
        logits: Tensor = network(inputs)
    return logits


def forward_only(network: nn.Module, inputs: Tensor) -> None:
    with torch.no_grad(), autocast():
        network(inputs)


class Forward:
    """A forward pass whose graph is kept until the next one, so that its backward pass can be timed separately."""

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        self.network, self.inputs = network, inputs
        self.logits = forward(network, inputs)

    def forward(self) -> float:
        return computing_seconds(self._forward, DEVICE)

    def _forward(self) -> None:
        self.logits = forward(self.network, self.inputs)

    def backward(self) -> float:
        """Return the seconds of the backward pass, from a gradient of the logits, of the last forward pass."""
        gradient = torch.full_like(self.logits, 1e-3)
        seconds = computing_seconds(lambda: self.logits.backward(gradient), DEVICE)
        self.network.zero_grad(set_to_none=True)
        return seconds


def kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the distillation loss at the temperature."""
    target = F.softmax(teacher.detach() / TEMPERATURE, -1)
    return TEMPERATURE**2 * F.kl_div(F.log_softmax(student / TEMPERATURE, -1), target, reduction="batchmean")


def losses(students: Sequence[Tensor], pivot: Tensor, inputs: Tensor, labels: Tensor) -> None:
    """Compute the losses of eq. 4 to 12 of the paper from logits (B, C), and their gradients."""
    students = [z.detach().float().requires_grad_() for z in students]
    errors = torch.stack([F.cross_entropy(z.detach(), labels, reduction="none") for z in students])
    best, *rest = errors.mean(1).argsort().tolist()
    quotas = (errors.mean(1).softmax(0) * len(labels)).floor().int().tolist()
    quotas[0] += len(labels) - sum(quotas)
    worst = torch.cat([own.argsort(descending=True)[:quota] for own, quota in zip(errors, quotas, strict=True)])
    partners = worst[torch.randperm(len(worst)).to(worst.device)]
    share = float(torch.distributions.Beta(1.0, 1.0).sample())
    _mixed = share * inputs + (1 - share) * inputs[partners]
    answer = pivot.detach().float().requires_grad_()
    intensive = share * F.cross_entropy(answer, labels) + (1 - share) * F.cross_entropy(answer, labels[partners])
    intensive.backward()
    private = (1 - ALPHA) * F.cross_entropy(students[best], labels) + ALPHA * kl(students[best], pivot)
    private.backward()
    group = []
    for k in rest:
        distillation = kl(students[k], students[best]) + kl(students[k], pivot)
        group.append((1 - ALPHA) * F.cross_entropy(students[k], labels) + ALPHA * distillation)
    torch.stack(group).sum().backward()


class Updates:
    """The optimizer's three updates, with given gradients."""

    def __init__(self, networks: Sequence[nn.Module], settings: Settings) -> None:
        self.turns = [list(networks[0].parameters()), list(networks[1].parameters())]
        self.turns.append([parameter for network in networks[2:] for parameter in network.parameters()])
        self.optimizer = torch.optim.SGD(
            [parameter for turn in self.turns for parameter in turn],
            lr=1e-6,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
        self.gradients = [[torch.full_like(parameter, 1e-6) for parameter in turn] for turn in self.turns]

    def run(self) -> float:
        seconds = 0.0
        for turn, gradients in zip(self.turns, self.gradients, strict=True):
            for parameter, gradient in zip(turn, gradients, strict=True):
                parameter.grad = gradient
            seconds += computing_seconds(self._update, DEVICE)
        return seconds

    def _update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


@kept_memory()
def measure(repeats: int, quick: bool) -> list[Row]:
    splits = clothes(32 if quick else 640, 10, quick=quick)
    settings = Settings(batch_size=16 if quick else 64, schedule="constant")
    dataset = splits.dataset
    preprocess = dataset.inputs.transform(DEVICE, LAYOUT, splits.augment)
    make = maker("resnet8", splits, teacher="resnet8" if quick else "resnet20")

    def networks() -> ORC:
        method = ORC(students=3, alpha=ALPHA, temperature=TEMPERATURE)
        method.build(make)
        return method.to(device=DEVICE, memory_format=LAYOUT).train()  # type: ignore[call-overload, no-any-return]

    whole, parts_of = networks(), networks()
    batch = next(Batches(splits.train, preprocess, batch_size=settings.batch_size).epoch(0))
    updater, meter = Updater(whole, settings, DEVICE), LossMeter()
    steps = iter(range(10**9))

    def iteration() -> float:
        clock = Clock(0, 1, next(steps), 10**9)
        return computing_seconds(lambda: updater.step(batch, clock, meter), DEVICE)

    students = [parts_of.group[k] for k in range(3)]
    passes = {name: Forward(network, batch.inputs) for name, network in zip(("student 0", "student 1", "student 2"), students, strict=True)}
    passes["pivot"] = Forward(parts_of.pivot, batch.inputs)
    logits = [one.logits.detach().float() for one in passes.values()]
    parts: dict[str, Callable[[], float]] = {}
    for name, one in passes.items():
        parts[f"{name}, forward"] = one.forward
        parts[f"{name}, backward"] = one.backward
    parts["pivot, forward for targets"] = lambda: computing_seconds(lambda: forward_only(parts_of.pivot, batch.inputs), DEVICE)
    parts["temporary teacher, forward for targets"] = lambda: computing_seconds(lambda: forward_only(students[0], batch.inputs), DEVICE)
    parts["losses"] = lambda: computing_seconds(lambda: losses(logits[:3], logits[3], batch.inputs, batch.labels), DEVICE)
    parts["optimizer updates"] = Updates([parts_of.pivot, *students], settings).run

    times = interleave({"iteration": iteration, **parts}, repeats if quick else 10 * repeats, warm_up=3)
    together = [sum(times[name][repeat] for name in parts) for repeat in range(len(times["iteration"]))]
    medians = {name: 1000 * quartiles(times[name]).value for name in times}
    return [
        row(
            "an ORC iteration over the sum of its parts",
            ratio(times["iteration"], together),
            target=TARGET,
            details=f"{medians['iteration']:.1f} ms, the parts {1000 * quartiles(together).value:.1f} ms",
            figures={"milliseconds": medians},
        ),
        *(exact(f"part: {name}", medians[name], "ms") for name in parts),
    ]


if __name__ == "__main__":
    main(__doc__, measure)
