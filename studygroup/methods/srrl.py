"""Distillation by softmax regression representation learning (Yang, Martinez, Bulat and Tzimiropoulos, ICLR 2021).

    L = CE(z, y) + matching_weight * mean of (pool c(f_s) - pool f_t)^2 + weight * mean of (W(c(f_s)) - z_t)^2

f are the maps that are pooled for the classifiers, c a 1x1 convolution with batch norm and ReLU from the student's channels to the
teacher's (`connectors.Projection`), trained with the student. W is what turns the teacher's map into logits z_t, its pool and classifier;
they are frozen, and gradient flows through them. The student keeps a head of its own. What is pooled of a text is its positions alone.

Departures: none from the authors' code for ImageNet, which has both weights 1; those for small images are not published.
Shapes: B batch, C classes, maps (B, c, h, w), whose sizes may differ.
"""

from __future__ import annotations

from collections.abc import Sequence

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


class SRRL(OneTeacher):
    """The teacher's classifier reads the student's last map as it reads the teacher's own."""

    def __init__(
        self,
        *,
        weight: float = 1.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        matching_weight: float = 1.0,
        student_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the regression to the teacher's logits, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            matching_weight: of the pooled features, at least 0.
            student_layers: path of the student's module whose map is read, one at most; by default where a chain's pool takes its map.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, None)
        require(matching_weight >= 0.0, f"matching_weight is {matching_weight}; it must not be negative")
        require(len(self.student_layers) <= 1, f"student_layers names {len(self.student_layers)} modules; srrl reads one")
        self.matching_weight = matching_weight

    def layers(self, network: nn.Module) -> list[str]:
        """Where the map comes from that is pooled."""
        return [head_of(network)[0]]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """The projection."""
        (s,), (t,) = student.maps, teacher.maps
        require(s.ndim == 4, f"the student's feature is {tuple(s.shape)}, one sample; srrl takes a map (1, C, H, W)")
        self.projection = networks.extra_module("projection", lambda: Projection(s.shape[1], t.shape[1]))

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The pooled features, and the teacher's logits."""
        (s,), (t,), (mask,), (its_mask,) = student.maps, teacher.maps, student.masks, teacher.masks
        projected = as_pooled(apply_connector(self.projection, s, mask), mask)  # (B, c_t, h_s, w_s), or texts
        _, head = head_of(self.teacher.network)
        return {
            "student0/matching": self.matching_weight * hint(pooled(projected), pooled(as_pooled(t, its_mask))),
            "student0/regression": self.weight * hint(head(projected), teacher.logits),
        }


def as_pooled(maps: Tensor, mask: Tensor | None) -> Activation:
    """Maps as a pool takes them: those of texts, which are at `mask` (B, T), as `Padded`."""
    return maps if mask is None else from_maps(maps, mask)
