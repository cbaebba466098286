"""What the methods with one frozen teacher have in common that compare maps at every stage of the networks."""

from __future__ import annotations

from torch import nn

from studygroup.losses import match_size
from studygroup.methods.masks import aligned
from studygroup.methods.method import require
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks.chain import Chain
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, feature_layers


class EveryStage(OneTeacher):
    """One that compares maps of the two networks pair by pair, at all stages but the stem unless it is told where."""

    def layers(self, network: nn.Module) -> list[str]:
        """All stages but the stem."""
        return stages_after_stem(network)

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Nothing; the features must be maps."""
        for s, t, _ in aligned(student, teacher):
            match_size(s, t)


def stages_after_stem(network: nn.Module) -> list[str]:
    """Where a chain's maps are, without its stem, if it has one: a transformer's first block is none.

    Raises:
        UserError: the network is no chain, or has a stem and a head alone.
    """
    known = feature_layers(network)
    stem = network.last_blocks().get("stem") if isinstance(network, Chain) else None
    after = [place for place in known if place != stem]
    require(bool(after), f"{type(network).__name__} has one stage before its head, and that is its stem; name the modules to watch")
    return after
