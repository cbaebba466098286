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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen
from studygroup.losses import factor_transfer, hint
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.methods.two_stages import FirstStage, TwoStages
from studygroup.networks.connectors import Paraphraser, Translator
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, feature_layers
from studygroup.parameters import option

IMAGES_ONLY = "ft compares maps through convolutions that would read the padding behind a text as a part of it"


@dataclass(eq=False, kw_only=True)
class FT(OneTeacher, TwoStages):
    """A student whose last map is translated into the factors in which a trained paraphraser encodes the teacher's."""

    images_only = IMAGES_ONLY

    initial_learning_rate: float | None = option(
        0.01, above=0.0, help="Constant learning rate of the first stage, the paraphraser's; none for the run's"
    )
    weight: float = option(200.0, at_least=0.0, help="Weight of the loss on factors")
    share: float = option(0.5, above=0.0, help="Number of factors per channel of the teacher's map")

    def initial(self) -> Paraphrasing:
        """Create the method of the first stage."""
        return Paraphrasing(share=self.share, student_layers=self.student_layers, teacher_layers=self.teacher_layers)

    def layers(self, network: nn.Module) -> list[str]:
        """Return the last stage before the head."""
        return feature_layers(network)[-1:]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create the paraphraser, whose weights the first stage trained, and the translator."""
        self.paraphraser = Frozen(create_paraphraser(networks, teacher, self.share))
        widths = student.maps[0].shape[1], teacher.maps[0].shape[1]
        require(student.maps[0].dim() == 4, f"the student's feature has the shape {tuple(student.maps[0].shape)}; name a map (B, c, h, w)")
        self.translator = networks.extra_module("translator", lambda: Translator(*widths, self.share))

    def modules_to_save(self) -> Mapping[str, nn.Module]:
        """Return the paraphraser."""
        return {"paraphraser": self.paraphraser.network}

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the loss on factors."""
        network = self.paraphraser.network
        assert isinstance(network, Paraphraser)
        factors = factor_transfer(self.translator(student.maps[0]), network.factors(teacher.maps[0]))
        return {"student0/factors": self.weight * factors}


@dataclass(eq=False, kw_only=True)
class Paraphrasing(FirstStage):
    """A paraphraser that learns to reconstruct the teacher's map; the student is not trained: the first stage of `FT`."""

    images_only = IMAGES_ONLY

    share: float = 0.5

    def layers(self, network: nn.Module) -> list[str]:
        """Return the last stage before the head."""
        return feature_layers(network)[-1:]

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create the paraphraser, and freeze the student."""
        self.group.requires_grad_(False)
        self.paraphraser = create_paraphraser(networks, teacher, self.share)

    def modules_to_save(self) -> Mapping[str, nn.Module]:
        """Return the paraphraser."""
        return {"paraphraser": self.paraphraser}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the paraphraser once; the student does not run."""
        maps = self.teacher.extract_features(batch.inputs, self.teacher_paths).maps[0]
        yield {"group/reconstruction": hint(self.paraphraser(maps), maps)}

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return no losses."""
        return {}


def create_paraphraser(networks: NetworkFactory, teacher: Features, share: float) -> Paraphraser:
    """Create a paraphraser of the teacher's map.

    Raises:
        UserError: there is not exactly one layer, or its output is not a map.
    """
    shapes = [tuple(maps.shape) for maps in teacher.maps]
    require(len(shapes) == 1, f"{len(shapes)} layers are named, but ft compares one map; name one with student_layers and teacher_layers")
    require(len(shapes[0]) == 4, f"the teacher's feature has the shape {shapes[0]}; name a map (B, c, h, w) with teacher_layers")
    return networks.extra_module("paraphraser", lambda: Paraphraser(shapes[0][1], share))
