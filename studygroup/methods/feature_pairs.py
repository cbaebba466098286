"""Base of the one-teacher methods that compare maps at every stage of the networks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from studygroup.losses import match_size
from studygroup.methods.masks import masked_pairs
from studygroup.methods.method import require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks.chain import Chain
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, feature_layers


@dataclass(eq=False, kw_only=True)
class StagePairs(OneTeacher):
    """A student whose maps are compared with the teacher's, by default at the ends of all stages but the stem."""

    def layers(self, network: nn.Module) -> list[str]:
        """Return all stages but the stem."""
        return stages_after_stem(network)

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Check that the features are maps whose sizes can be matched."""
        for s, t, _ in masked_pairs(student, teacher):
            match_size(s, t)


def stages_after_stem(network: nn.Module) -> list[str]:
    """Return the stages of a chain before its head, without the stem if it has one (a transformer has none).

    Raises:
        UserError: the network is not a chain, or has only a stem and a head.
    """
    known = feature_layers(network)
    stem = network.last_blocks().get("stem") if isinstance(network, Chain) else None
    after = [place for place in known if place != stem]
    require(bool(after), f"{type(network).__name__} has no stage between its stem and its head; name the layers to compare")
    return after
