"""Base of the methods whose student imitates the logits of frozen teachers: one, or several as one.

    mean     softmax(z_t / T) = 1/M * sum over j of softmax(z_j / T)          M teachers
    holdout  softmax(z_t / T) = sum over j of w_j softmax(z_j / T),           w_j = max(a_j - 1/C, 0) / sum of the same
    random   z_t = z_j,  j drawn anew in every step

z_t are logits that any loss between logits takes. Averaged are the probabilities at the temperature T of the loss, not the logits: the
gradient of T^2 KL(t || s) is then the mean of those of its teachers' losses, and a teacher counts no more for having larger logits. a_j is
the accuracy on the hold-out set before training, so that a teacher no better than chance counts nothing; if all are, they count the same.
Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.clock import Clock
from studygroup.groups import Frozen
from studygroup.losses.targets import mix_softened
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.method import require
from studygroup.networks.factory import NetworkFactory, numbered
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class ImitatesTeachers(ComparesLogits):
    """A student that imitates frozen teachers; a subclass calls `build_teachers`, and `teacher_logits` in its step."""

    needs_teacher = True
    several_teachers = True

    combine: Literal["mean", "holdout", "random"] = option(
        "mean",
        help="How several teachers are one: the mean of their softened probabilities, the same weighted by their accuracy on the hold-out "
        "set, or one drawn at random in every step",
    )

    def build_teachers(self, networks: NetworkFactory) -> None:
        """Create the teachers, and find their weights."""
        self.teacher = Frozen(networks.trained())
        self.more_teachers = nn.ModuleList(Frozen(networks.trained(j)) for j in range(1, len(networks.teachers)))
        if not len(self.more_teachers):
            return
        self.holdout_accuracy: Tensor
        if self.combine == "holdout":
            measure = networks.holdout_accuracy
            require(measure is not None, "combine is holdout, but no accuracies are known; give NetworkFactory a holdout_accuracy")
            assert measure is not None
            # In the state dict: a resumed run has the weights that it began with, whatever machine it goes on.
            self.register_buffer("holdout_accuracy", torch.tensor([measure(network) for network in networks.teachers]))
        self._chance = 1 / networks.num_classes

    def teacher_weights(self) -> Tensor:
        """Return the weights (M,) of several teachers in the mean; in the long run if one is drawn."""
        teachers = 1 + len(self.more_teachers)
        even = next(self.teacher.parameters()).new_full((teachers,), 1 / teachers, dtype=torch.float32)
        if self.combine != "holdout":
            return even
        above = (self.holdout_accuracy - self._chance).clamp_min(0)
        return torch.where(above.sum() > 0, above / above.sum().clamp_min(1e-12), even)

    def teacher_logits(self, inputs: Tensor, temperature: float, clock: Clock) -> Tensor:
        """Return logits (B, C) of what the student is to imitate at a temperature, without gradient."""
        teachers = [self.teacher, *self.more_teachers]
        if len(teachers) == 1:
            return self.teacher(inputs)  # type: ignore[no-any-return]
        if self.combine == "random":
            drawn = int(torch.randint(len(teachers), (), generator=clock.generator("teacher")))
            return teachers[drawn](inputs)  # type: ignore[no-any-return]
        return mix_softened(torch.stack([teacher(inputs) for teacher in teachers]), self.teacher_weights(), temperature)

    def taught_by(self) -> Mapping[str, Mapping[str, float]]:
        """Return weight and hold-out accuracy of several teachers."""
        if not len(self.more_teachers):
            return {}
        found = {numbered("teacher", j): {"weight": weight} for j, weight in enumerate(self.teacher_weights().tolist(), start=1)}
        if self.combine == "holdout":
            for own, accuracy in zip(found.values(), self.holdout_accuracy.tolist(), strict=True):
                own["holdout"] = accuracy
        return found
