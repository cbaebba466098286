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

    def loss(self, pivot: nn.Module, batch: Batch, errors: Tensor, generator: torch.Generator) -> Tensor:
        """Return the pivot's loss (Eq. 8-9), given the students' errors (n, B) on the whole batch."""
        whole = batch.global_batch
        if self.kind == "mixup":
            partners = torch.randperm(len(whole), generator=generator).to(batch.labels.device)
        else:
            partners = feedback(errors, generator)
        partners = batch.local(partners)
        inputs, targets = whole.inputs[partners], whole.targets.map(lambda rows: rows[partners])
        if self.kind == "feedback":
            return cross_entropy(pivot(inputs), targets)
        mix = beta(self.alpha, generator, len(whole) if self.per_sample else 1).to(errors)
        mix = batch.local(mix) if self.per_sample else mix
        return mixed_cross_entropy(mixed_logits(pivot, batch.inputs, inputs, mix), batch.targets, targets, mix)
