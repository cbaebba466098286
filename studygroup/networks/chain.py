"""A network as an ordered chain of named blocks, grouped in stages.

That one form gives features (a stage's output), branches (cut the chain at a stage), routes (choose each block among
several) and deployment (a student is the chain of its own blocks: a plain module with a plain `state_dict`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


class Chain(nn.Sequential):
    """Named blocks, run one after the other.

    The last stage is called `head`: it turns the last map into logits and is never routed as a feature block.

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

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        """The output of every stage but the head's, and of every block of the head.

        Args:
            inputs: (B, C, H, W).

        Returns:
            Stage or head-block name -> activation: maps (B, c, h, w), then `pool` (B, d), then the logits (B, classes).
        """
        found = {}
        activation = inputs
        for stage, names in self.stages.items():
            for name in names:
                activation = getattr(self, name)(activation)
                if stage == "head":
                    found[name] = activation
            if stage != "head":
                found[stage] = activation
        return found


class Pool(nn.Module):
    """Mean over the positions of a map: (B, C, H, W) -> (B, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C, H, W). Returns: (B, C)."""
        return maps.mean((2, 3))
