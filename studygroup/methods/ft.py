"""Factor transfer, FT: paraphrasing complex networks (Kim, Park and Kwak, NeurIPS 2018, arXiv:1802.04977).

    first stage   L = mean of (D(E(f_t)) - f_t)^2
    second stage  L = label_weight CE(z, y) + weight * mean of |a(R(f_s)) - a(E(f_t))| + kd_weight T^2 KL(teacher || student)
                  a(v) = the mean over channels of v^2 as a unit vector over positions

f are the last maps before the pool. The paraphraser, an encoder E and a decoder D, learns to reconstruct the teacher's and is then frozen;
the translator R learns with the student and is thrown away (`connectors.Paraphraser`, `connectors.Translator`).

Departures:
- As in the CRD benchmark (Tian et al., ICLR 2020), whose weight is the default: the paper compares the normalised factors themselves.
- The first stage does not touch the student. It has the run's optimiser, fresh, at the constant learning rate that this benchmark has
  for its residual networks.
Shapes: B batch, maps (B, c, h, w), factors (B, share c, h, w).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen
from studygroup.losses import factor_transfer, hint
from studygroup.methods.method import Losses, StageSpec, require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.methods.two_stages import FirstStage, check_initial, two_stages
from studygroup.networks.connectors import Paraphraser, Translator
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, feature_layers

IMAGES_ONLY = "ft compares maps through convolutions that would take what stands behind a text's end for a part of it"


class FT(OneTeacher):
    """A student's last map is translated into factors in which the teacher's was paraphrased before."""

    images_only = IMAGES_ONLY

    def __init__(
        self,
        *,
        initial_epochs: int = 30,
        initial_learning_rate: float | None = 0.01,
        share: float = 0.5,
        weight: float = 200.0,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            initial_epochs: of the paraphraser's training; the run's epochs are the student's.
            initial_learning_rate: of the paraphraser, constant; none for the run's.
            share: factors per channel of the teacher's map, above 0.
            weight: of the factors, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            student_layers: path of the student's module whose map is translated; by default a chain's last stage before the head.
            teacher_layers: path of the teacher's module whose map is paraphrased.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)
        check_initial(initial_epochs, initial_learning_rate)
        require(share > 0.0, f"share is {share}; it must be positive")
        self.initial_epochs = initial_epochs
        self.initial_learning_rate = initial_learning_rate
        self.share = share

    def initial(self) -> Paraphrasing:
        """The first stage."""
        return Paraphrasing(self.share, self.student_layers, self.teacher_layers)

    def stages(self) -> list[StageSpec]:
        """List the paraphraser's training, then the student's."""
        return two_stages(self.initial(), self, self.initial_epochs, self.initial_learning_rate)

    def layers(self, network: nn.Module) -> list[str]:
        """The last stage before the head."""
        return feature_layers(network)[-1:]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """The paraphraser, as the first stage leaves it, and the translator."""
        self.paraphraser = Frozen(paraphraser(networks, teacher, self.share))
        widths = student.maps[0].shape[1], teacher.maps[0].shape[1]
        require(student.maps[0].dim() == 4, f"the student's feature has the shape {tuple(student.maps[0].shape)}; name a map (B, c, h, w)")
        self.translator = networks.extra_module("translator", lambda: Translator(*widths, self.share))

    def modules_to_save(self) -> Mapping[str, nn.Module]:
        """The paraphraser."""
        return {"paraphraser": self.paraphraser.network}

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The factors."""
        network = self.paraphraser.network
        assert isinstance(network, Paraphraser)
        factors = factor_transfer(self.translator(student.maps[0]), network.factors(teacher.maps[0]))
        return {"student0/factors": self.weight * factors}


class Paraphrasing(FirstStage):
    """A paraphraser that learns to reconstruct the teacher's map, while the student waits: the first stage of `FT`."""

    images_only = IMAGES_ONLY

    def __init__(
        self, share: float = 0.5, student_layers: Sequence[str] | None = None, teacher_layers: Sequence[str] | None = None
    ) -> None:
        """Args: share, student_layers, teacher_layers: of `FT`."""
        super().__init__(student_layers, teacher_layers)
        self.share = share

    def layers(self, network: nn.Module) -> list[str]:
        """The last stage before the head."""
        return feature_layers(network)[-1:]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """The paraphraser; the student does not learn yet."""
        self.group.requires_grad_(False)
        self.paraphraser = paraphraser(networks, teacher, self.share)

    def modules_to_save(self) -> Mapping[str, nn.Module]:
        """The paraphraser."""
        return {"paraphraser": self.paraphraser}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update of the paraphraser; the student does not run."""
        maps = self.teacher.extract_features(batch.inputs, self.teacher_paths).maps[0]
        yield {"group/reconstruction": hint(self.paraphraser(maps), maps)}

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Nothing."""
        return {}


def paraphraser(networks: NetworkFactory, teacher: Features, share: float) -> Paraphraser:
    """A new paraphraser of the teacher's map.

    Raises:
        UserError: not one map is watched, or what is watched is none.
    """
    shapes = [tuple(maps.shape) for maps in teacher.maps]
    require(len(shapes) == 1, f"{len(shapes)} layers are named, but ft compares one map; name one with student_layers and teacher_layers")
    require(len(shapes[0]) == 4, f"the teacher's feature has the shape {shapes[0]}; name a map (B, c, h, w) with teacher_layers")
    return networks.extra_module("paraphraser", lambda: Paraphraser(shapes[0][1], share))
