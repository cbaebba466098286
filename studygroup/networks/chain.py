"""A network as an ordered chain of named blocks, grouped in stages.

That one form gives features (a stage's output, `features.py`), branches (cut the chain at a stage), routes (choose each
block among several) and deployment (a student is the chain of its own blocks: a plain module with a plain `state_dict`).

A block takes the previous block's output, which it does not change in place, and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


class Chain(nn.Sequential):
    """Named blocks, run one after the other.

    The last stage is called `head`: it turns the last map into logits and is never routed as a feature block. Its last blocks
    are `pool` (maps -> vectors) and `classifier` (vectors -> logits); what stands before them makes the map that is pooled.

    Attributes:
        stages: stage name -> the names of its blocks, in order.
    """

    stages: dict[str, tuple[str, ...]]

    def __init__(self, stages: Mapping[str, Mapping[str, nn.Module]]) -> None:
        """Args: stages: stage name -> block name -> block, in the order in which they run."""
        super().__init__(OrderedDict((name, block) for blocks in stages.values() for name, block in blocks.items()))
        self.stages = {stage: tuple(blocks) for stage, blocks in stages.items()}

    def blocks(self) -> dict[str, nn.Module]:
        """Block name -> block, in order."""
        return dict(self.named_children())

    def ends(self) -> dict[str, str]:
        """Stage name -> the name of its last block, for all stages but the head: where the network's maps are seen."""
        return {stage: names[-1] for stage, names in self.stages.items() if stage != "head"}


class Pool(nn.Module):
    """Mean over the positions of a map: (B, C, H, W) -> (B, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C, H, W). Returns: (B, C)."""
        return maps.mean((2, 3))
