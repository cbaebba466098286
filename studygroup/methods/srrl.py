"""Distillation by softmax regression representation learning (Yang, Martinez, Bulat and Tzimiropoulos, ICLR 2021).

    L = CE(z, y) + matching_weight * mean of (pool c(f_s) - pool f_t)^2 + weight * mean of (W(c(f_s)) - z_t)^2

f are the maps that are pooled for the classifiers, c a 1x1 convolution with batch norm and ReLU from the student's channels to the
teacher's (`connectors.Projection`), trained with the student. W is what turns the teacher's map into logits z_t, its pool and classifier;
they are frozen, and gradient flows through them. The student keeps a head of its own. What is pooled of a text is its positions alone.

Departures: none from the authors' code for ImageNet, which has both weights 1; those for small images are not published.
Shapes: B batch, C classes, maps (B, c, h, w), whose sizes may differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import pooled
from studygroup.losses import hint
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks.connectors import Projection, apply_connector
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, head_of
from studygroup.networks.padded import Activation, from_maps
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class SRRL(OneTeacher):
    """A student from whose projected last map the teacher's classifier computes the same logits as from the teacher's own."""

    weight: float = option(1.0, at_least=0.0, help="Weight of the regression to the teacher's logits")
    matching_weight: float = option(1.0, at_least=0.0, help="Weight of the loss on pooled features")
    teacher_layers: None = field(default=None, init=False)  # always the map that the teacher's own classifier takes

    def __post_init__(self) -> None:
        """Check the number of layers."""
        super().__post_init__()
        named = len(self.student_layers or ())
        require(named <= 1, f"student_layers names {named} modules; srrl reads one")

    def layers(self, network: nn.Module) -> list[str]:
        """Return the layer whose map is pooled for the classifier."""
        return [head_of(network)[0]]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create the projection."""
        (s,), (t,) = student.maps, teacher.maps
        require(s.ndim == 4, f"the student's feature is {tuple(s.shape)}, one sample; srrl takes a map (1, C, H, W)")
        self.projection = networks.extra_module("projection", lambda: Projection(s.shape[1], t.shape[1]))

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the losses on pooled features and on the teacher classifier's logits."""
        (s,), (t,), (mask,), (teacher_mask,) = student.maps, teacher.maps, student.masks, teacher.masks
        projected = with_mask(apply_connector(self.projection, s, mask), mask)  # (B, c_t, h_s, w_s), or texts
        _, head = head_of(self.teacher.network)
        return {
            "student0/matching": self.matching_weight * hint(pooled(projected), pooled(with_mask(t, teacher_mask))),
            "student0/regression": self.weight * hint(head(projected), teacher.logits),
        }


def with_mask(maps: Tensor, mask: Tensor | None) -> Activation:
    """Return maps as a pooling layer takes them: those of texts, with a mask (B, T), as `Padded`."""
    return maps if mask is None else from_maps(maps, mask)
