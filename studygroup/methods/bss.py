"""Knowledge distillation with adversarial samples supporting the decision boundary, BSS (Heo et al., AAAI 2019, arXiv:1805.05532).

    L    = CE(z, y) + a(e) S(z_t, z) + b(e) S(z_t', z'),   S(t, s) = - mean of sum_c softmax(t / T) log softmax(s / T)
    a(e) = end + (start - end)(1 - e / epochs),   b(e) = max(boundary_weight (1 - e / (boundary_share epochs)), 0),   e = 1, 2, ...

z' are logits of images moved to the teacher's decision boundary. The base samples are those that both networks classify
correctly, of more than `base_samples` the ones with the largest sum over wrong classes of (p_t - p)^2. Each gets a target class, drawn
from the teacher's probabilities of the wrong classes, and moves against the teacher:

    x <- clip(x + step_size (t_y - t_k + 1e-4) g / |g|),   g = gradient of t_k - t_y,   as long as y is the teacher's prediction

Departures: the schedule is the authors' code's of 80 epochs as shares of them. With fewer than two base samples the last term is
left out, because batch norm needs two; that code fails at one. Options of the code that have no effect (a largest distance) are not here.
Shapes: B batch, C classes, n base samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_cross_entropy
from studygroup.losses.numerics import as_float32, unit
from studygroup.methods.masks import check_inputs
from studygroup.methods.method import Losses, Method
from studygroup.networks.factory import NetworkFactory
from studygroup.parameters import option


@dataclass(eq=False, kw_only=True)
class BSS(Method):
    """A student that learns from a teacher's predictions, on images at the teacher's decision boundary, too."""

    whole_batch = True
    needs_teacher = True
    images_only = "bss moves inputs along gradients with respect to them, and token ids have none"

    temperature: float = option(3.0, above=0.0, help="Softmax temperature T")
    start: float = option(4.0, at_least=0.0, help="Weight a of the teacher's predictions before the first epoch")
    end: float = option(1.0, at_least=0.0, help="Weight a of the teacher's predictions in the last epoch")
    boundary_weight: float = option(2.0, at_least=0.0, help="Weight b of the boundary images before the first epoch")
    boundary_share: float = option(0.75, above=0.0, at_most=1.0, help="Fraction of the epochs over which b falls to 0")
    base_samples: int = option(64, at_least=2, help="Most images of a batch to move: those on whose wrong classes the networks differ most")
    steps: int = option(10, at_least=1, help="Most steps per image")
    step_size: float = option(0.3, above=0.0, help="Step size, relative to the estimated distance to the boundary")
    clip: float = option(2.5, above=0.0, help="Largest absolute pixel value of a moved image, after normalisation")

    def build(self, networks: NetworkFactory) -> None:
        """Create the student and the teacher."""
        check_inputs(self, networks)
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())

    def weights(self, clock: Clock) -> tuple[float, float]:
        """Return a and b of the current epoch."""
        done = (clock.epoch + 1) / clock.epochs
        return self.end + (self.start - self.end) * (1 - done), self.boundary_weight * max(1 - done / self.boundary_share, 0.0)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """Update the student once."""
        student, teacher = self.group[0](batch.inputs), self.teacher(batch.inputs)  # (B, C) each
        a, b = self.weights(clock)
        losses = {
            "student0/cross_entropy": cross_entropy(student, batch.targets),
            "student0/distillation": a * soft_cross_entropy(student, teacher, self.temperature),
        }
        if b > 0.0:
            all_teacher = batch.all_gather(teacher)  # base samples and target classes are chosen over the whole batch, on every rank
            base = self.base(batch.all_gather(student.detach()), all_teacher, batch.global_batch.labels)
            if int(base.sum()) > 1:
                targets = draw_targets(all_teacher, batch.global_batch.labels, clock.generator("targets"))
                losses["student0/boundary"] = b * self.boundary(batch, base, targets)
        yield losses

    def base(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Choose the base samples, (B,) bool, by both networks' logits (B, C) and the labels (B,)."""
        correct = (student.argmax(-1) == labels) & (teacher.argmax(-1) == labels)
        difference = (as_float32(teacher).softmax(-1) - as_float32(student).softmax(-1)).square().scatter(1, labels[:, None], 0.0).sum(-1)
        largest = difference.masked_fill(~correct, -1.0).topk(min(self.base_samples, len(labels))).indices
        return correct & torch.zeros_like(correct).index_fill(0, largest, True)

    def boundary(self, batch: Batch, base: Tensor, targets: Tensor) -> Tensor:
        """Return S on the moved images; base (B,) bool and targets (B,) are of the whole batch, and so is the loss."""
        own = batch.local(base)
        moved = self.attack(batch.inputs[own], batch.labels[own], batch.local(targets)[own])

        def gather(logits: Tensor) -> Tensor:
            return batch.all_gather(logits.new_zeros(len(batch), logits.shape[1]).index_put((own,), logits))[base]

        return soft_cross_entropy(gather(self.group[0](moved)), gather(self.teacher(moved)), self.temperature)

    def attack(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """Move images (n, ...) of classes `labels` (n,) to the teacher's decision boundary with the classes `targets` (n,)."""
        for _ in range(self.steps):
            images = images.detach().requires_grad_()
            scores = as_float32(self.teacher.network(images))
            lead = scores.gather(1, labels[:, None]) - scores.gather(1, targets[:, None])  # (n, 1)
            still = scores.argmax(-1, keepdim=True) == labels[:, None]
            if not bool(still.any()):
                break
            (gradient,) = torch.autograd.grad(lead.sum(), images)
            move = self.step_size * still * (lead.detach() + 1e-4) * unit(gradient.flatten(1).to(lead.dtype))
            images = (images - move.view_as(images).to(images.dtype)).clamp(-self.clip, self.clip)
        return images.detach()


def draw_targets(teacher: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a wrong class (B,) per sample from the teacher's probabilities, given its logits (B, C) and the labels (B,)."""
    wrong = teacher.double().scatter(1, labels[:, None], -torch.inf).softmax(-1).cumsum(-1)
    draws = torch.rand(len(labels), 1, generator=generator, dtype=torch.float64).to(wrong.device)
    return (wrong <= draws * wrong[:, -1:]).sum(-1)
