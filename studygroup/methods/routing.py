"""How students are made of the modules of one network: random routing (Feng et al., AAAI 2021, Eq. 1), and its ablations.

Readings (the paper leaves these open):
- `routing=False` ("w/o RR", Table 4) is the group of routes that share no module: each network has batch norms of its own, and `bn` means
  what it means for routes. A module then sees its own student's samples only. For a comparison in which nothing but the sharing of
  parameters differs, give `bn="per_student"` on both sides.
- "Manually setting more shared layers" (Figure 5(b)): which ones is not said; `shared_layers` draws them, `routes` gives them.
- A structure that is carried to other data (Table 7) is `routes`, or `route_seed`: it does not depend on the run's seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studygroup.groups import Independent, Modular
from studygroup.groups.group import BatchNorm, Group
from studygroup.groups.modular import Head, Targets
from studygroup.methods.method import require
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option

OF_MODULAR = ("modules", "distinct", "require_coverage", "route_stem", "head", "block_groups", "routes", "shared_layers", "bn", "targets")


@dataclass(eq=False, kw_only=True)
class RoutingOptions:
    """Options of students that are routes."""

    students: int = option(
        8, at_least=1, at_most=1000, help="Number of students K, or as many as there are distinct routes if these are fewer"
    )
    modules: int = option(2, at_least=1, at_most=1000, help="Number of modules M per layer", class_attribute=False)
    routing: bool = option(True, help="Students are routes through shared modules; otherwise K separate networks")
    distinct: bool = option(True, help="No two students have the same route")
    require_coverage: bool = option(False, help="Draw routes until every module is on one")
    route_stem: bool = option(True, help="Give the stem M modules, too, instead of sharing it")
    head: Head = option("shared", help="One head for all, M heads that are routed like a layer, or one per student")
    block_groups: Sequence[int] | None = option(
        None, help="Number of consecutive blocks of each layer, such as 2,1,2", default_help="one block per layer"
    )
    shared_layers: int = option(
        0, at_least=0, at_most=1000, help="Number of layers, drawn at random, that all students share (Figure 5(b))"
    )
    routes: Sequence[Sequence[int]] | None = option(
        None, help="For each student, the module of each layer: a list of lists, or a YAML file with one (Table 7)", default_help="random"
    )
    route_seed: int | None = option(None, help="Seed of the routes and of the shared layers", default_help="the seed of the run")
    bn: BatchNorm = option("pooled", help="Pool batch-norm statistics over all samples of a module, or keep them per student")
    targets: Targets = option(
        "batch_stats",
        help="Batch norm and dropout in the forward pass of the targets; recall is faster: it uses the own samples' statistics",
    )
    ilr_rescale: bool = option(False, help="Divide each module's gradient by the number of students that use it")

    def check_routing(self) -> None:
        """Raise UserError if options need routes, and there are none."""
        needing = {"targets='recall'": self.targets == "recall", "routes": self.routes is not None, "shared_layers": self.shared_layers > 0}
        for name, given in needing.items():
            require(self.routing or not given, f"{name} needs routes; leave it out, or give routing=True")

    def students_group(self, networks: NetworkFactory, options: Mapping[str, Any]) -> Group:
        """Make the group of students; of distinct routes there may be fewer than K.

        Args:
            networks: makes the copies of the network.
            options: these options with their values.

        Raises:
            UserError: the network is no chain, or the options do not fit it.
        """
        if not self.routing:
            assert self.targets != "recall"
            return Independent(networks.students(self.students), targets=self.targets, bn=self.bn)
        seed = networks.seed if self.route_seed is None else self.route_seed
        group = Modular(networks.copy, self.students, seed=seed, **{name: options[name] for name in OF_MODULAR})
        if self.ilr_rescale:
            group.rescale_gradients()
        return group
