"""Intensive teaching: the loss of the pivot of ORC (Choi, Cho, Jeong and Hwang, 2022).

    x~ = lambda x + (1 - lambda) x_feed,  lambda ~ Beta                      Eq. 8
    L  = lambda CE(T(x~), y) + (1 - lambda) CE(T(x~), y_feed)                Eq. 9

x_feed are the samples that the students feed back (`roles.feedback`).

Departures: Eq. 9 as printed scores unmixed inputs, against Eq. 8; the mixed input is scored, as in mix-up and in the paper's later version.
For texts, which the paper does not have, the embeddings are mixed (`networks/mixing.py`).
Shapes: B batch, n students.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.losses import cross_entropy, mixed_cross_entropy
from studygroup.methods.method import require
from studygroup.methods.roles import feedback
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.mixing import can_mix_texts, mixed_logits
from studygroup.randomness import beta

IntensiveKind = Literal["feedback_mixup", "mixup", "feedback", "off"]


@dataclass(frozen=True)
class Feed:
    """What the pivot is fed in a step.

    Attributes:
        positions: (B,) int64 positions in the whole batch of the samples that are mixed in, or fed alone.
        mix: lambda, (1,) or one per sample of this rank; None if nothing is mixed.
    """

    positions: Tensor
    mix: Tensor | None


class IntensiveTeaching:
    """The pivot's loss on the samples that the students get wrong."""

    def __init__(self, kind: IntensiveKind, alpha: float, *, per_sample: bool) -> None:
        """Args: kind, alpha, per_sample: options `intensive`, `mixup_alpha` and `mixup_per_sample` of `ORC`."""
        if alpha == 0.0 and kind in ("feedback_mixup", "mixup"):
            warnings.warn(f"mixup_alpha is 0: the pivot learns from the batch alone, without {kind}", stacklevel=4)
        self.kind = kind
        self.alpha = alpha
        self.per_sample = per_sample

    def check(self, pivot: nn.Module, networks: NetworkFactory) -> None:
        """Raise UserError if texts are to be mixed in a pivot whose embedding is unknown."""
        require(
            networks.vocabulary is None or "mixup" not in self.kind or can_mix_texts(pivot),
            f"orc mixes the embeddings of texts, but where the embedding of the pivot, {type(pivot).__name__}, ends is unknown; "
            "use --method.intensive feedback, which mixes nothing, or a pivot from `studygroup list networks`",
        )

    def draw(self, batch: Batch, errors: Tensor, generator: torch.Generator) -> Feed:
        """Choose the samples that are mixed in, and lambda, given the students' errors (n, B) on the whole batch."""
        samples = errors.shape[1]
        shuffled = self.kind == "mixup"
        positions = torch.randperm(samples, generator=generator).to(errors.device) if shuffled else feedback(errors, generator)
        mix = None if self.kind == "feedback" else beta(self.alpha, generator, samples if self.per_sample else 1).to(errors)
        return Feed(positions, batch.local(mix) if mix is not None and self.per_sample else mix)

    def loss(self, pivot: nn.Module, batch: Batch, feed: Feed) -> Tensor:
        """Return the pivot's loss (Eq. 8-9)."""
        whole, partners = batch.global_batch, batch.local(feed.positions)
        inputs, targets = whole.inputs[partners], whole.targets.map(lambda rows: rows[partners])
        if feed.mix is None:
            return cross_entropy(pivot(inputs), targets)
        return mixed_cross_entropy(mixed_logits(pivot, batch.inputs, inputs, feed.mix), batch.targets, targets, feed.mix)
