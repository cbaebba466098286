"""How much the students of a finished run share (Feng et al., AAAI 2021, Figures 3(b) and 5).

The paper names the "parameter sharing ratio" and gives no formula. Here it is, over the pairs of students, the mean fraction of layers of
which both use the same module. Random routes over M modules per layer share 1 / M on average; if n of L layers are shared by force, it is
n / L + (1 - n / L) / M. A trunk under branches is shared by all pairs, separate networks share nothing.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from studygroup.errors import UserError
from studygroup.groups.layers import layers_of
from studygroup.networks.chain import Chain
from studygroup.networks.registry import parameter_count
from studygroup.runs.member import Run


@dataclass(frozen=True)
class Layer:
    """One layer of the students' network.

    Attributes:
        blocks: names of its blocks.
        parameters: number of parameters of one module of it.
        counts: whether it is one of the paper's L layers: neither the embedding nor a head that is not routed.
    """

    blocks: tuple[str, ...]
    parameters: int
    counts: bool


@dataclass(frozen=True)
class Structure:
    """Which module of each layer each student uses.

    Attributes:
        layers: from the inputs to the head.
        routes: for each student the number of its module in each layer; equal numbers are the same module.
    """

    layers: tuple[Layer, ...]
    routes: tuple[tuple[int, ...], ...]


def routes(run: Run) -> list[list[int]]:
    """Return the routes of a run of `cgl`, the head's module last: what its option `routes` takes.

    Raises:
        UserError: its students have none.

    Example:
        >>> import studygroup as sg
        >>> from studygroup.analysis import sharing
        >>> len(sharing.routes(sg.Run("runs/digits")))
        2
    """
    found = _group(run).get("routes")
    if not isinstance(found, list):
        raise UserError(f"the students of {run.folder}, a run of {run.result['method']}, have no routes; give a run of cgl with routing")
    return [[int(module) for module in route] for route in found]


def sharing_ratio(run: Run, by: Literal["layers", "parameters"] = "layers") -> float:
    """Return the mean, over the pairs of students, of the fraction of the network that both use in common.

    Args:
        run: finished, of a group of at least two students.
        by: `layers` counts layers, without the embedding and a head that is not routed; `parameters` counts the parameters of all layers.

    Raises:
        UserError: the run has a single student, or an unknown kind of group.

    Example:
        >>> import studygroup as sg
        >>> from studygroup.analysis import sharing
        >>> 0 <= sharing.sharing_ratio(sg.Run("runs/digits")) < 1
        True
    """
    if by not in ("layers", "parameters"):
        raise UserError(f"by is {by!r}; it must be layers or parameters")
    students = _group(run).get("students")
    if not isinstance(students, int) or students < 2:
        raise UserError(f"{run.folder} has a single student, which shares with nobody; give a run of a group")
    if _group(run)["group"] == "independent":
        return 0.0
    found = structure(run)
    weights = [(layer.parameters if by == "parameters" else 1) * (by == "parameters" or layer.counts) for layer in found.layers]
    pairs = itertools.combinations(found.routes, 2)
    common = [sum(weight for weight, a, b in zip(weights, *pair, strict=True) if a == b) for pair in pairs]
    return statistics.fmean(common) / sum(weights)


def trained_parameters(run: Run) -> int:
    """Return the number of parameters that a run trained, of all members together (Figure 3(b)).

    Raises:
        UserError: the run does not say.

    Example:
        >>> import studygroup as sg
        >>> from studygroup.analysis import sharing
        >>> run = sg.Run("runs/digits")
        >>> sharing.trained_parameters(run) / run.best.card["parameters"] < 2.01  # two modules per layer
        True
    """
    found = run.result.get("trained_parameters")
    if not isinstance(found, int):
        raise UserError(f"the result of {run.folder} does not say how many parameters were trained; train it again")
    return found


def structure(run: Run) -> Structure:
    """Return the layers of the students of a run of routes or branches, and which module of each every student uses.

    Raises:
        UserError: the students have neither, or their network is no chain of blocks.

    Example:
        >>> import studygroup as sg
        >>> from studygroup.analysis import sharing
        >>> found = sharing.structure(sg.Run("runs/digits"))
        >>> found.layers[-1].blocks, len(found.routes)
        (('pool', 'classifier'), 2)
    """
    group, students = _group(run), run.result.get("candidates") or ["student0"]
    network = run.member(str(students[0])).network
    options: Mapping[str, Any] = run.identity.get("options", {})
    if group.get("group") not in ("modular", "branched") or not isinstance(network, Chain):
        raise UserError(f"the students of {run.folder}, a run of {run.result['method']}, have neither routes nor branches")
    modular = group["group"] == "modular"
    named, _ = layers_of(network, options.get("block_groups") if modular else None)
    head = modular and options.get("head") == "routed"
    blocks = network.blocks()
    layers = tuple(
        Layer(
            names,
            sum(parameter_count(blocks[name]) for name in names),
            (names != named[-1] or head) and names != network.stages.get("embedding"),
        )
        for names in named
    )
    if modular:
        return Structure(layers, tuple(map(tuple, routes(run))))
    first = network.stages[group["branch_from"]][0] if group["branch_from"] is not None else named[0][0]
    trunk = next(number for number, names in enumerate(named) if first in names)
    return Structure(layers, tuple((0,) * trunk + (k,) * (len(named) - trunk) for k in range(group["students"])))


def _group(run: Run) -> Mapping[str, Any]:
    """Return what the result says of the group."""
    found = run.result.get("identity", {}).get("group")
    if not isinstance(found, dict):
        raise UserError(f"the result of {run.folder} does not describe the group of students; train it again")
    return found
