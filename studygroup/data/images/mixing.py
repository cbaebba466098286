"""Mixing of pairs of images: mixup (Zhang et al., arXiv:1710.09412) and CutMix (Yun et al., arXiv:1905.04899)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from studygroup import randomness


@dataclass(frozen=True)
class PairMix:
    """How the inputs of one batch are mixed.

    Attributes:
        partners: (B,) the row that each row is mixed with; of the same student's samples.
        share: weight of the rows' own inputs, in [0.5, 1].
        box: top, bottom, left and right of what comes from the partner; None if pixels are averaged.
    """

    partners: Tensor
    share: float
    box: tuple[int, int, int, int] | None = None

    def inputs(self, own: Tensor, others: Tensor) -> Tensor:
        """Mix inputs (b, C, H, W) with those of their partners."""
        if self.box is None:
            return own * self.share + others * (1 - self.share)
        top, bottom, left, right = self.box
        mixed = own.clone()
        mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return mixed


@dataclass(frozen=True)
class Mixing:
    """Mixup or CutMix; one of both, drawn for each batch, if both have a parameter.

    Attributes:
        mixup: parameter of the Beta distribution of the share; None for no mixup.
        cutmix: parameter of the Beta distribution of the share; None for no CutMix.
    """

    mixup: float | None
    cutmix: float | None

    @staticmethod
    def of(strengths: Mapping[str, float]) -> Mixing | None:
        """Return the mixing among the operations of an augmentation, if any."""
        found = Mixing(strengths.get("mixup"), strengths.get("cutmix"))
        return found if found != Mixing(None, None) else None

    def draw(self, seed: int, sizes: Sequence[int], height: int, width: int) -> PairMix:
        """Draw how a batch is mixed: partners for each sample, one share and one box for all, as in the papers.

        The share is max(lambda, 1 - lambda): the partner's part is never the larger one, so a sample keeps its class.

        Args:
            seed: of the batch.
            sizes: numbers of consecutive samples of each student.
            height: of the images.
            width: of the images.
        """
        generator = randomness.generator(seed, "mix")
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        partners = torch.cat([start + torch.randperm(size, generator=generator) for start, size in zip(starts, sizes, strict=True)])
        cut = torch.rand((), generator=generator).item() < 0.5 if None not in (self.mixup, self.cutmix) else self.mixup is None
        alpha = self.cutmix if cut else self.mixup
        assert alpha is not None
        share = float(randomness.beta(alpha, generator))
        share = max(share, 1 - share)
        if not cut:
            return PairMix(partners, share)
        side = (1 - share) ** 0.5
        tall, wide = int(height * side), int(width * side)
        y, x = (torch.rand(2, generator=generator, dtype=torch.float64) * torch.tensor([height, width])).long().tolist()
        top, left = max(y - tall // 2, 0), max(x - wide // 2, 0)
        bottom, right = min(y - tall // 2 + tall, height), min(x - wide // 2 + wide, width)
        return PairMix(partners, 1 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))
