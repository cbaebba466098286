"""Knowledge distillation (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531), and the recipes of newer losses on logits.

    L = a CE(z, y) + w T^2 KL(teacher || student) at temperature T,   a = 1 - alpha, w = alpha

Defaults: alpha = .9, T = 4, those of the CRD benchmark (Tian et al., ICLR 2020). The other presets are papers' recipes for CIFAR-100, with
their loss in place of the KL (`logit_losses.py`):

    dkd           a = 1, w = 1, T = 4, w ramped up linearly over 20 of 240 epochs     Zhao et al., CVPR 2022
    dist          a = 1, w = 1, T = 4                                                 Huang et al., NeurIPS 2022
    standardized  a = .1, w = 9, T = 2                                                Sun et al., CVPR 2024

Departures: none of the loss. DKD's warm-up is that share of the epochs, so that short runs keep the shape. The authors choose some values
for each pair of networks: `dkd_beta` (8 here; 2 for resnet56 to resnet20), and T of `standardized` (2 or 3). Of several teachers, those
losses take what `taught.py` makes of them as the logits of one.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Independent
from studygroup.losses import cross_entropy
from studygroup.methods.logit_losses import LogitLoss
from studygroup.methods.method import Losses, require
from studygroup.methods.taught import ImitatesTeachers
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option
from studygroup.schedules import warmup


@dataclass(frozen=True)
class Recipe:
    """Values of a preset."""

    logit_loss: LogitLoss
    label_weight: float
    weight: float
    temperature: float
    warmup_share: float = 0.0


RECIPES = {
    "dkd": Recipe("dkd", 1.0, 1.0, 4.0, 20 / 240),
    "dist": Recipe("dist", 1.0, 1.0, 4.0),
    "standardized": Recipe("standardized", 0.1, 9.0, 2.0),
}


@dataclass(eq=False, kw_only=True)
class KD(ImitatesTeachers):
    """A student that learns from the labels and from the softened predictions of a frozen teacher, or of several."""

    takes_unlabelled = True

    preset: Literal["crd", "dkd", "dist", "standardized"] = option(
        "crd", help="Values of the next options; dkd, dist and standardized set logit_loss, too"
    )
    alpha: float = option(
        0.9, at_least=0.0, at_most=1.0, help="With preset crd, weight of the teacher's predictions; the cross-entropy has 1 - alpha"
    )
    label_weight: float | None = option(
        None, at_least=0.0, help="Weight of the cross-entropy", default_help="1 - alpha; 1 with dkd and dist, 0.1 with standardized"
    )
    weight: float | None = option(
        None, at_least=0.0, help="Weight of the teacher's predictions", default_help="alpha; 1 with dkd and dist, 9 with standardized"
    )
    temperature: float | None = option(None, above=0.0, help="Softmax temperature T", default_help="4; 2 with standardized")
    warmup_share: float | None = option(
        None,
        at_least=0.0,
        at_most=1.0,
        help="Fraction of the epochs over which the weight of the teacher's predictions grows linearly",
        default_help="0; 20/240 with dkd",
    )

    def __post_init__(self) -> None:
        """Fill in the preset's values."""
        recipe = RECIPES.get(self.preset, Recipe(self.logit_loss, 1 - self.alpha, self.alpha, 4.0))
        require(
            self.logit_loss in ("kl", recipe.logit_loss),
            f"logit_loss is {self.logit_loss}, but preset {self.preset} is a recipe of {recipe.logit_loss}; leave one out",
        )
        require(
            self.preset == "crd" or self.alpha == 0.9,
            f"alpha is {self.alpha:g}, a weight of preset crd; with preset {self.preset} give label_weight and weight",
        )
        self.logit_loss = recipe.logit_loss
        self._label_weight = recipe.label_weight if self.label_weight is None else self.label_weight
        self._weight = recipe.weight if self.weight is None else self.weight
        self.temperature = self._temperature = recipe.temperature if self.temperature is None else self.temperature
        self._warmup_share = recipe.warmup_share if self.warmup_share is None else self.warmup_share
        super().__post_init__()

    def build(self, networks: NetworkFactory) -> None:
        """Create the student and the teachers."""
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.build_teachers(networks)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        logits = self.group[0](batch.inputs)  # (B, C)
        teacher = self.teacher_logits(batch.inputs, self._temperature, clock)
        weight = self._weight * warmup(clock.epoch + 1, round(self._warmup_share * clock.epochs))
        yield {
            "student0/cross_entropy": self._label_weight * cross_entropy(logits, batch.targets),
            "student0/distillation": weight * self.compare(logits, teacher, batch.targets, self._temperature),
        }
