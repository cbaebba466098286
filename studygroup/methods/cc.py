"""Correlation congruence (Peng et al., ICCV 2019, arXiv:1904.01802).

    L = CE(z, y) + weight * mean over i = 1 .. B-1 of sum over dimensions of d_i d_(i+1),   d = |e_s(f_s) - e_t(f_t)|

f are pooled features; e are linear embeddings in as many dimensions, one of the student's and one of the teacher's features, both trained.

Departures: the paper compares matrices of all pairs of samples; this is the form that the CRD benchmark (Tian et al., ICLR 2020) has from
its author, which multiplies the errors of neighbours in the batch. The default weight is that benchmark's.
Shapes: B batch, features (B, d), embeddings (B, dimensions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import correlation_congruence
from studygroup.methods.masks import check_vectors
from studygroup.methods.method import Losses
from studygroup.methods.one_teacher import OneTeacher, feature_pairs
from studygroup.networks.connectors import Embed
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class CC(OneTeacher):
    """A student whose embeddings agree with the teacher's, jointly on neighbouring samples of a batch."""

    whole_batch = True

    weight: float = option(0.02, at_least=0.0, help="Weight of the congruence loss")
    dimensions: int = option(128, at_least=1, at_most=65536, help="Size of the embeddings")

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create the embeddings of each pair of features."""
        check_vectors(student, teacher)

        def embeddings(name: str, features: Sequence[Tensor]) -> nn.ModuleList:
            sizes = [f[0].numel() for f in features]
            return nn.ModuleList(
                networks.extra_module(f"{name}{i}", lambda d=d: Embed(d, self.dimensions, normalise=False))  # type: ignore[misc]
                for i, d in enumerate(sizes)
            )

        student_features, teacher_features = zip(*feature_pairs(student, teacher), strict=True)
        self.student_embeddings = embeddings("student_embedding", student_features)
        self.teacher_embeddings = embeddings("teacher_embedding", teacher_features)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the congruence loss over the whole batch, summed over the pairs of features."""
        compared = [
            correlation_congruence(batch.all_gather(embed_s(s)), batch.all_gather(embed_t(t)))
            for embed_s, embed_t, (s, t) in zip(
                self.student_embeddings, self.teacher_embeddings, feature_pairs(student, teacher), strict=True
            )
        ]
        return {"student0/congruence": self.weight * torch.stack(compared).sum()}
