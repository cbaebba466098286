"""Contrastive representation distillation (Tian, Krishnan and Isola, ICLR 2020, arXiv:1910.10699).

    L = CE(z, y) + weight * (NCE(e_s, memory of e_t) + NCE(e_t, memory of e_s))

e are linear embeddings of the pooled features, of unit length, both trained. NCE tells a sample's own entry in the other network's memory
from those of K samples of other classes (`losses.contrastive`). The memories hold moving averages of the embeddings of all N training
samples; a batch updates them after its loss. They are part of the state dict, so that a resumed run has them.

Departures: none from the authors' code, whose constants are the defaults. The normalisers are those of the first batch, as there. With
fewer than K samples of other classes, negatives are drawn with replacement. For the paper's CRD + KD, `kd_weight` is 1.
Shapes: B batch, K negatives, N training samples, features (B, d).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import MemoryBank, contrastive_representation, draw_negatives
from studygroup.methods.masks import check_vectors
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher, feature_pairs
from studygroup.networks.connectors import Embed
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class CRD(OneTeacher):
    """A student whose embedding of a sample agrees with the teacher's, in contrast to those of other classes, and vice versa."""

    whole_batch = True

    weight: float = option(0.8, at_least=0.0, help="Weight of the contrastive loss")
    negatives: int = option(
        16384, at_least=1, at_most=1_000_000, help="Number of negatives K per sample; drawn with replacement if there are fewer"
    )
    dimensions: int = option(128, at_least=1, at_most=65536, help="Size of the embeddings")
    contrast_temperature: float = option(0.07, above=0.0, help="Temperature of the contrast")
    momentum: float = option(0.5, at_least=0.0, below=1.0, help="Weight of the old entry when a memory is updated")

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Create embeddings and memories, and keep the labels of all training samples."""
        check_vectors(student, teacher)
        ((s, t), *others) = feature_pairs(student, teacher)
        require(not others, f"{1 + len(others)} modules of each network are named; crd contrasts one")
        labels = networks.training_labels()
        require(bool((labels != labels[0]).any()), "all training samples are of one class; crd needs negatives of other classes")
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)

        def memory() -> MemoryBank:
            return MemoryBank(len(labels), self.dimensions, temperature=self.contrast_temperature, momentum=self.momentum)

        self.student_embedding = networks.extra_module("student_embedding", lambda: Embed(s[0].numel(), self.dimensions))
        self.teacher_embedding = networks.extra_module("teacher_embedding", lambda: Embed(t[0].numel(), self.dimensions))
        self.student_memory = networks.extra_module("student_memory", memory)
        self.teacher_memory = networks.extra_module("teacher_memory", memory)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """Return the contrastive loss of the whole batch, then update the memories."""
        whole = batch.global_batch
        ((s, t),) = feature_pairs(student, teacher)
        embedded, taught = batch.all_gather(self.student_embedding(s)), batch.all_gather(self.teacher_embedding(t))  # (B, dimensions)
        seed = int(torch.randint(2**62, (), generator=clock.generator("negatives")))
        # On the labels' device: the draw among N samples is as large as a batch of their scores.
        negatives = draw_negatives(self.labels, whole.labels, self.negatives, torch.Generator(whole.labels.device).manual_seed(seed))
        candidates = torch.cat([whole.indices[:, None], negatives], dim=1)  # (B, 1 + K)
        contrast = contrastive_representation(embedded, taught, self.student_memory, self.teacher_memory, candidates)
        self.student_memory.update(embedded, whole.indices)
        self.teacher_memory.update(taught, whole.indices)
        return {"student0/contrast": self.weight * contrast}
