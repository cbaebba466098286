"""Contrastive representation distillation (Tian, Krishnan and Isola, ICLR 2020, arXiv:1910.10699).

    L = CE(z, y) + weight * (NCE(e_s, memory of e_t) + NCE(e_t, memory of e_s))

e are linear embeddings of the pooled features, of unit length, both trained. NCE tells a sample's own entry in the other network's memory
from those of K samples of other classes (`losses.contrastive`). The memories hold all N training samples as last seen, smoothed; they
take up a batch after its loss. They are part of the method's state, so that a resumed run has them.

Departures: none from the authors' code, whose constants are the defaults. The normalisers are those of the first batch, as there. With
fewer than K samples of other classes, negatives are drawn with replacement. For the paper's CRD + KD, `kd_weight` is 1.
Shapes: B batch, K negatives, N training samples, features (B, d).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.losses import MemoryBank, contrastive_representation, draw_negatives
from studygroup.methods.masks import check_vectors
from studygroup.methods.method import Losses, require
from studygroup.methods.one_teacher import OneTeacher, pairs
from studygroup.networks.connectors import Embed
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features


class CRD(OneTeacher):
    """A student's embedding of a sample is told from the teacher's of other classes, and the other way round."""

    whole_batch = True
    labels: Tensor

    def __init__(
        self,
        *,
        weight: float = 0.8,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        negatives: int = 16384,
        dimensions: int = 128,
        contrast_temperature: float = 0.07,
        momentum: float = 0.5,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        """Set the options.

        Args:
            weight: of the contrast, at least 0.
            label_weight: of the cross-entropy, at least 0.
            kd_weight: of the teacher's softened predictions, at least 0.
            temperature: T > 0 of these.
            negatives: K >= 1.
            dimensions: of the embeddings, at least 1.
            contrast_temperature: of the contrast, above 0.
            momentum: share in [0, 1) of the old entry when a memory takes up a new one.
            student_layers: path of the student's module whose output is embedded, one at most; by default the pooled feature.
            teacher_layers: path of the teacher's module, likewise.
        """
        super().__init__(weight, label_weight, kd_weight, temperature, student_layers, teacher_layers)
        require(negatives >= 1, f"negatives is {negatives}; at least 1 is needed")
        require(dimensions >= 1, f"dimensions is {dimensions}; it must be at least 1")
        require(contrast_temperature > 0.0, f"contrast_temperature is {contrast_temperature}; it must be positive")
        require(0.0 <= momentum < 1.0, f"momentum is {momentum}; it must lie in [0, 1)")
        self.negatives = negatives
        self.dimensions = dimensions
        self.contrast_temperature = contrast_temperature
        self.momentum = momentum

    def connect(self, networks: NetworkFactory, student: Features, teacher: Features) -> None:
        """Embeddings, memories, and the classes of all training samples."""
        check_vectors(student, teacher)
        ((s, t), *others) = pairs(student, teacher)
        require(not others, f"{1 + len(others)} modules of each network are named; crd contrasts one")
        labels = networks.training_labels()
        require(bool((labels != labels[0]).any()), "all training samples are of one class; crd needs samples of others for contrast")
        self.register_buffer("labels", labels, persistent=False)

        def memory() -> MemoryBank:
            return MemoryBank(len(labels), self.dimensions, temperature=self.contrast_temperature, momentum=self.momentum)

        self.student_embedding = networks.extra_module("student_embedding", lambda: Embed(s[0].numel(), self.dimensions))
        self.teacher_embedding = networks.extra_module("teacher_embedding", lambda: Embed(t[0].numel(), self.dimensions))
        self.student_memory = networks.extra_module("student_memory", memory)
        self.teacher_memory = networks.extra_module("teacher_memory", memory)

    def feature_losses(self, student: Features, teacher: Features, batch: Batch, clock: Clock) -> Losses:
        """The contrast of the whole batch, which the memories take up afterwards."""
        whole = batch.global_batch
        ((s, t),) = pairs(student, teacher)
        ours, theirs = batch.all_gather(self.student_embedding(s)), batch.all_gather(self.teacher_embedding(t))  # (B, dimensions)
        seed = int(torch.randint(2**62, (), generator=clock.generator("negatives")))
        # Drawn where the labels are: the choice among N samples is as large as a batch of their scores.
        negatives = draw_negatives(self.labels, whole.labels, self.negatives, torch.Generator(whole.labels.device).manual_seed(seed))
        candidates = torch.cat([whole.indices[:, None], negatives], dim=1)  # (B, 1 + K)
        contrast = contrastive_representation(ours, theirs, self.student_memory, self.teacher_memory, candidates)
        self.student_memory.update(ours, whole.indices)
        self.teacher_memory.update(theirs, whole.indices)
        return {"student0/contrast": self.weight * contrast}
