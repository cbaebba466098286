"""The layers of a network of which a modular group has several modules each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from studygroup.errors import UserError
from studygroup.networks.chain import Chain

SINGLE_LAYER_STAGES = ("embedding", "stem")  # each a single layer; in later stages each block is one


def layers_of(
    chain: Chain, block_groups: Sequence[int] | None = None, shared_stages: Sequence[str] = ("embedding",)
) -> tuple[list[tuple[str, ...]], list[bool]]:
    """Return the block names of each layer, the head's last, and for all layers but the head whether they are routed.

    Args:
        chain: the network.
        block_groups: number of consecutive blocks of each layer after the stem; one each by default.
        shared_stages: of which there is one module for all.

    Raises:
        UserError: the network has no head, or other numbers of blocks.
    """
    if "head" not in chain.stages:
        raise UserError(f"the stages of the network are {', '.join(chain.stages)}; the last must be called head")
    body = [name for stage, names in chain.stages.items() if stage not in (*SINGLE_LAYER_STAGES, "head") for name in names]
    groups = list(block_groups) if block_groups is not None else [1] * len(body)
    if sum(groups) != len(body) or any(size < 1 for size in groups):
        raise UserError(
            f"block_groups is {groups}, which sums to {sum(groups)}; the network has {len(body)} blocks between its stem and its head"
        )
    first_stages = [stage for stage in SINGLE_LAYER_STAGES if chain.stages.get(stage)]
    ends = list(itertools.accumulate(groups))
    layers = [*(chain.stages[stage] for stage in first_stages), *(tuple(body[end - n : end]) for end, n in zip(ends, groups, strict=True))]
    return [*layers, chain.stages["head"]], [*(stage not in shared_stages for stage in first_stages), *(True for _ in groups)]


def has_dropout(module: nn.Module) -> bool:
    """Return whether a module drops something in train mode, so that two passes over the same samples differ."""
    rates = [module.p] if isinstance(module, _DropoutNd) else [value for name, value in vars(module).items() if "drop" in name]
    return any(isinstance(rate, float) and rate > 0.0 for rate in rates)
