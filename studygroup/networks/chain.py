"""A network as an ordered chain of named blocks, grouped in stages.

This form gives features (a stage's output, `features.py`), branches (split the chain at a stage), routes (choose each block
among several) and deployment (a student is the chain of its own blocks: a plain module with a plain `state_dict`).

A block takes the previous block's output, which it does not change in-place, and nothing else. In text networks it is a `Padded`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks.padded import Activation


class Chain(nn.Sequential):
    """Named blocks, run one after the other.

    The last stage is called `head`: it turns the last feature maps into logits. Its last blocks are `pool` (maps -> vectors) and
    `classifier` (vectors -> logits); the block before them outputs the maps that are pooled.

    The first stage of a text network is called `embedding`: it turns token ids (B, T) into vectors, `Padded` (B, T, d). All students of
    a group share it, and its output is no feature to distil.

    Attributes:
        stages: stage name -> the names of its blocks, in order.

    Example:
        >>> from studygroup import networks
        >>> networks.create("resnet8", num_classes=10).stages["head"]
        ('pool', 'classifier')
    """

    stages: dict[str, tuple[str, ...]]

    def __init__(self, stages: Mapping[str, Mapping[str, nn.Module]]) -> None:
        """Args: stages: stage name -> block name -> block, in order."""
        super().__init__(OrderedDict((name, block) for blocks in stages.values() for name, block in blocks.items()))
        self.stages = {stage: tuple(blocks) for stage, blocks in stages.items()}

    def blocks(self) -> dict[str, nn.Module]:
        """Return block name -> block, in order."""
        return dict(self.named_children())

    def last_blocks(self) -> dict[str, str]:
        """Return stage name -> name of its last block, for all stages but embedding and head: their outputs are the feature maps."""
        return {stage: names[-1] for stage, names in self.stages.items() if stage not in ("embedding", "head")}

    def embed(self, ids: Tensor) -> Activation:
        """Run the embedding.

        Args:
            ids: token ids (B, T) int64.

        Returns:
            `Padded` (B, T, d), the input of `forward_embedded`.

        Raises:
            UserError: the network has no embedding.
        """
        return self._run(self._embedding(), ids)

    def forward_embedded(self, embedded: Activation) -> Tensor:
        """Run all stages but the embedding; return logits (B, C).

        Args:
            embedded: `Padded` (B, T, d), as `embed` returns it.

        Raises:
            UserError: the network has no embedding.
        """
        embedding = self._embedding()
        logits = self._run([name for name in self.blocks() if name not in embedding], embedded)
        assert isinstance(logits, Tensor)
        return logits

    def _embedding(self) -> tuple[str, ...]:
        if "embedding" not in self.stages:
            raise UserError(f"the stages of the network are {', '.join(self.stages)}; there is no embedding: use a text network")
        return self.stages["embedding"]

    def _run(self, names: Iterable[str], x: Activation) -> Activation:
        for name in names:
            x = self.get_submodule(name)(x)
        return x


class Pool(nn.Module):
    """Global average pooling: (B, C, H, W) -> (B, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, C, H, W). Returns: (B, C)."""
        return maps.mean((2, 3))
