"""Correlation congruence (Peng et al., ICCV 2019, arXiv:1904.01802).

    L = CE(z, y) + weight * mean over i = 1 .. B-1 of sum over dimensions of d_i d_(i+1),   d = |e_s(f_s) - e_t(f_t)|

f are pooled features; e are linear embeddings in as many dimensions, one of the student's and one of the teacher's features, both trained.

Departures: the paper compares matrices of all pairs of samples; this is the form that the CRD benchmark (Tian et al., ICLR 2020) has from
its author, which multiplies the errors of neighbours in the batch. The default weight is that benchmark's.
Shapes: B batch, features (B, d), embeddings (B, dimensions).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import correlation_congruence
from studygroup.methods.masks import check_vectors
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher, pairs
from studygroup.networks.connectors import Embed
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features


class CC(OneTeacher):
    """Embeddings of student and teacher agree, on neighbouring samples of a batch together."""

    whole_batch = True

    def __init__(
        self,
        *,
        weight: float = 0.02,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        dimensions: int = 128,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the congruence, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            dimensions: of the embeddings, at least 1.
            student_layers: paths of the student's modules that are compared; by default the pooled feature.
            teacher_layers: paths of as many of the teacher's modules.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)
        require(dimensions >= 1, f"dimensions is {dimensions}; it must be at least 1")
        self.dimensions = dimensions

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Embeddings of each pair of features."""
        check_vectors(student, teacher)

        def embeddings(whose: str, features: Sequence[Tensor]) -> nn.ModuleList:
            sizes = [f[0].numel() for f in features]
            return nn.ModuleList(
                networks.extra_module(f"{whose}{i}", lambda d=d: Embed(d, self.dimensions, normalise=False))  # type: ignore[misc]
                for i, d in enumerate(sizes)
            )

        ours, theirs = zip(*pairs(student, teacher), strict=True)
        self.student_embeddings = embeddings("student_embedding", ours)
        self.teacher_embeddings = embeddings("teacher_embedding", theirs)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The congruence, over the whole batch."""
        compared = [
            correlation_congruence(batch.all_gather(embed_s(s)), batch.all_gather(embed_t(t)))
            for embed_s, embed_t, (s, t) in zip(self.student_embeddings, self.teacher_embeddings, pairs(student, teacher), strict=True)
        ]
        return {"student0/congruence": self.weight * torch.stack(compared).sum()}
