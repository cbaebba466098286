"""Born-again networks (Furlanello, Lipton, Tschannen, Itti and Anandkumar, ICML 2018, arXiv:1805.04770).

    generation 1 : CE(z, y)
    generation g : label_weight CE(z, y) + weight T^2 KL(p_(g-1) || p)

G networks of one architecture, trained one after the other from fresh initialisations; each learns from the one before it, which is frozen.
The last is deployed. The mean of all generations' probabilities is evaluated beside it, as `generations`.

Departures:
- The paper's abstract and introduction were read, not its loss: that a generation learns from the labels and from the generation before is
  there, their weights and the temperature are not. Both weights are 1 and T is 1 here, which are our choice.
- A generation teaches as the hold-out selected it.
- The variants CWTM and DKPP, which take the teacher's predictions apart, are not here; `logit_loss=dkd` is related to them.
Shapes: B batch, C classes, G generations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy
from studygroup.losses.numerics import as_float32
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import Losses
from studygroup.methods.stage_spec import StageSpec
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class BornAgain(ComparesLogits):
    """Generations of one network, each taught by the one before."""

    generations: int = option(3, at_least=1, at_most=100, help="Number of generations G, the first of which learns from the labels alone")
    label_weight: float = option(1.0, at_least=0.0, help="Weight of the cross-entropy from the second generation on")
    weight: float = option(1.0, at_least=0.0, help="Weight of the predictions of the generation before")
    temperature: float = option(1.0, above=0.0, help="Softmax temperature T")

    def stages(self) -> list[StageSpec]:
        """List a stage for each generation, the last one's last."""
        names = [f"generation{number + 1}" for number in range(self.generations - 1)]
        earlier = [
            StageSpec(name, type(self)(**self.options() | {"generations": number + 1}), teachers=tuple(names[:number]))
            for number, name in enumerate(names)
        ]
        return [*earlier, StageSpec("train", self, teachers=tuple(names))]

    def build(self, networks: NetworkFactory) -> None:
        """Create the student; the teachers are the generations before it, the first first."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.earlier = nn.ModuleList(Frozen(networks.trained(number)) for number in range(len(networks.teachers)))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        logits = self.group[0](batch.inputs)  # (B, C)
        hard = cross_entropy(logits, batch.targets)
        if not len(self.earlier):
            yield {"student0/cross_entropy": hard}
            return
        imitation = self.compare(logits, self.earlier[-1](batch.inputs), batch.targets, self.temperature)
        yield {"student0/cross_entropy": self.label_weight * hard, "student0/distillation": self.weight * imitation}

    def logits(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the student's logits (B, C), and the logarithm of the mean probabilities of all generations."""
        found = super().logits(inputs)
        if not len(self.earlier):
            return found
        generations = [*found.values(), *(network(inputs) for network in self.earlier)]
        return found | {
            "generations": torch.stack([as_float32(z).log_softmax(-1) for z in generations]).logsumexp(0) - math.log(len(generations))
        }
