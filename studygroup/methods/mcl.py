"""Mutual contrastive learning, MCL (Yang, An, Cai and Xu, AAAI 2022, arXiv:2104.12565).

    S_ij = e_i e_j^T / tau                               similarities (B, B) of the embeddings of networks i and j
    C(S) = mean over samples a, and over samples p of a's class but a, of - log [ exp S_ap / sum over b != a of exp S_ab ]
    L    = sum over i of CE(z_i, y) + v C(S_ii) + v' sum over j != i of KL(S_jj || S_ii)         vanilla, and its imitation
         + sum over i != j of w C(S_ij) + w' KL(S_ji || S_ij)                                    interactive, and its imitation

e are embeddings of the pooled features, of unit length, by a linear layer, ReLU and a linear layer of each network. KL is of the softmax
over rows at temperature T, times T^2; what is imitated is a constant. v = w = .1, v' = w' = 1, tau = .07, T = 3.

Departures from the authors' code, by which the numbers were made (the paper was not read):
- Its batches have two samples of each class in them. Here batches are drawn as for all methods; samples without another one of their class
  have no contrast and are left out of its mean.
- Samples without labels have no contrast; their similarities are imitated.
- Its logit distillation, from the mean of all logits, is not here; mixed samples are contrasted by their first class.
Shapes: B batch, C classes, K students, D dimensions of the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Group, Independent, target_mode
from studygroup.losses import cross_entropy, soft_kl, supervised_contrast, unit_similarity
from studygroup.methods.method import Losses, Method
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, extract_features
from studygroup.parameters import option


class Contrasted(Independent):
    """Networks whose embeddings are compared with gradient to all, so they stay on one rank."""

    shard = Group.shard


@dataclass(eq=False, kw_only=True)
class MCL(Method):
    """Networks whose embeddings of samples of a class agree, within each network and between networks."""

    whole_batch = True
    takes_unlabelled = True

    students: int = option(2, at_least=1, at_most=1000, help="Number of students K")
    vanilla: float = option(0.1, at_least=0.0, help="Weight of the contrast within a network")
    interactive: float = option(0.1, at_least=0.0, help="Weight of the contrast between networks")
    vanilla_imitation: float = option(1.0, at_least=0.0, help="Weight of the imitation of the other networks' similarities")
    interactive_imitation: float = option(1.0, at_least=0.0, help="Weight of the imitation between the two directions of a pair")
    contrast_temperature: float = option(0.07, above=0.0, help="Temperature tau of the similarities")
    temperature: float = option(3.0, above=0.0, help="Softmax temperature T of the imitations; they have the factor T^2")
    dimensions: int = option(128, at_least=1, at_most=65536, help="Size of the embeddings")

    def build(self, networks: NetworkFactory) -> None:
        """Create K networks, of different architectures if there are peers, and their embeddings."""
        self.group = Contrasted(networks.students(self.students))
        self.candidates = tuple(name for k, name in enumerate(self.student_names()) if networks.is_target(k))
        with torch.no_grad(), target_mode(self.group, "eval"):
            widths = [extract_features(self.group[k], networks.example(), []).pooled[0].numel() for k in range(self.students)]
        self.embeddings = nn.ModuleList(
            networks.extra_module(f"embedding{k}", lambda width=width: projection(width, self.dimensions))  # type: ignore[misc]
            for k, width in enumerate(widths if self.students > 1 else [])
        )

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update all networks and their embeddings together, once."""
        features = [extract_features(self.group[k], batch.inputs, []) for k in range(self.students)]
        losses = {f"student{k}/cross_entropy": cross_entropy(own.logits, batch.targets) for k, own in enumerate(features)}
        yield losses | (self.contrasts(features, batch) if self.students > 1 else {})

    def contrasts(self, features: Sequence[Features], batch: Batch) -> Losses:
        """Return the contrasts and imitations over the samples of all ranks."""
        labels = batch.all_gather(batch.labels)
        embedded = [batch.all_gather(embed(own.pooled.flatten(1))) for embed, own in zip(self.embeddings, features, strict=True)]
        tau = self.contrast_temperature
        similar = [[unit_similarity(one, other) / tau for other in embedded] for one in embedded]  # K x K x (B, B)
        networks = range(self.students)
        losses = {}
        for k in networks:
            others = [soft_kl(similar[k][k], similar[j][j].detach(), self.temperature) for j in networks if j != k]
            losses[f"student{k}/vanilla"] = self.vanilla * contrast(similar[k][k], labels)
            losses[f"student{k}/vanilla_imitation"] = self.vanilla_imitation * torch.stack(others).sum()
        pairs = [(i, j) for i in networks for j in networks if i != j]
        contrasts = torch.stack([contrast(similar[i][j], labels) for i, j in pairs])
        imitation = torch.stack([soft_kl(similar[i][j], similar[j][i].detach(), self.temperature) for i, j in pairs])
        losses["group/interactive"] = self.interactive * contrasts.sum()
        losses["group/interactive_imitation"] = self.interactive_imitation * imitation.sum()
        return losses


def contrast(similarity: Tensor, labels: Tensor) -> Tensor:
    """Return the contrast of the samples that have labels (those without are -1), given similarities (B, B); 0 if fewer than two have."""
    known = labels >= 0
    if bool(known.all()):
        return supervised_contrast(similarity, labels)
    return supervised_contrast(similarity[known][:, known], labels[known]) if int(known.sum()) > 1 else 0 * similarity.sum()


def projection(width: int, dimensions: int) -> nn.Module:
    """Return the embedding of features (B, width) before they are made unit vectors."""
    return nn.Sequential(nn.Linear(width, dimensions), nn.ReLU(), nn.Linear(dimensions, dimensions))
