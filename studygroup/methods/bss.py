"""Knowledge distillation with adversarial samples supporting the decision boundary, BSS (Heo et al., AAAI 2019, arXiv:1805.05532).

    L    = CE(z, y) + a(e) S(z_t, z) + b(e) S(z_t', z'),   S(t, s) = - mean of sum_c softmax(t / T) log softmax(s / T)
    a(e) = end + (start - end)(1 - e / epochs),   b(e) = max(boundary_weight (1 - e / (boundary_share epochs)), 0),   e = 1, 2, ...

z' are logits of images that were moved to the teacher's decision boundary. The base samples are those that both networks classify
correctly, of more than `base_samples` the ones with the largest sum over wrong classes of (p_t - p)^2. Each gets a target class, drawn
from the teacher's probabilities of the wrong classes, and moves against the teacher:

    x <- clip(x + step_size (t_y - t_k + 1e-4) g / |g|),   g = gradient of t_k - t_y,   as long as y is the teacher's prediction

Departures: the schedule is the authors' code's of 80 epochs as shares of them. With fewer than two base samples the last term is
left out, because batch norm needs two; that code fails at one. Options of the code that have no effect (a largest distance) are not here.
Shapes: B batch, C classes, n base samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.groups import Frozen, Independent
from studygroup.losses import cross_entropy, soft_cross_entropy
from studygroup.losses.numerics import as_float32, unit
from studygroup.methods.masks import check_inputs
from studygroup.methods.method import Losses, Method, require
from studygroup.networks.factory import NetworkFactory


class BSS(Method):
    """A student learns from a teacher's predictions also on images at the teacher's decision boundary."""

    whole_batch = True
    needs_teacher = True
    images_only = "bss moves inputs along gradients with respect to them, and token ids have none"

    def __init__(
        self,
        *,
        temperature: float = 3.0,
        start: float = 4.0,
        end: float = 1.0,
        boundary_weight: float = 2.0,
        boundary_share: float = 0.75,
        base_samples: int = 64,
        steps: int = 10,
        step_size: float = 0.3,
        clip: float = 2.5,
    ) -> None:
        """Set the options.

        Args:
            temperature: T > 0.
            start: weight of the teacher's predictions before the first epoch, at least 0.
            end: that of the last epoch, at least 0.
            boundary_weight: weight of the images at the boundary before the first epoch, at least 0.
            boundary_share: share in (0, 1] of the epochs in which it falls to 0.
            base_samples: the most images of a batch that are moved, at least 2.
            steps: of an image, at least 1.
            step_size: of the way that the teacher's scores suggest, above 0.
            clip: largest absolute value of an image that is moved, in the normalised images that networks take, above 0.
        """
        super().__init__()
        for name, weight in (("start", start), ("end", end), ("boundary_weight", boundary_weight)):
            require(weight >= 0.0, f"{name} is {weight}; it must not be negative")
        for name, value in (("temperature", temperature), ("step_size", step_size), ("clip", clip)):
            require(value > 0.0, f"{name} is {value}; it must be positive")
        require(0.0 < boundary_share <= 1.0, f"boundary_share is {boundary_share}; it must lie in (0, 1]")
        require(base_samples >= 2, f"base_samples is {base_samples}; at least 2 are needed, for batch norm")
        require(steps >= 1, f"steps is {steps}; at least 1 is needed")
        self.temperature = temperature
        self.start = start
        self.end = end
        self.boundary_weight = boundary_weight
        self.boundary_share = boundary_share
        self.base_samples = base_samples
        self.steps = steps
        self.step_size = step_size
        self.clip = clip

    def build(self, networks: NetworkFactory) -> None:
        """One student, and the teacher."""
        check_inputs(self, networks)
        self.group = Independent([networks.student(0)])
        self.candidates = self.student_names()
        self.teacher = Frozen(networks.trained())

    def weights(self, clock: Clock) -> tuple[float, float]:
        """A and b of the running epoch."""
        done = (clock.epoch + 1) / clock.epochs
        return self.end + (self.start - self.end) * (1 - done), self.boundary_weight * max(1 - done / self.boundary_share, 0.0)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """One update."""
        student, teacher = self.group[0](batch.inputs), self.teacher(batch.inputs)  # (B, C) each
        plain, boundary = self.weights(clock)
        losses = {
            "student0/cross_entropy": cross_entropy(student, batch.labels),
            "student0/distillation": plain * soft_cross_entropy(student, teacher, self.temperature),
        }
        if boundary > 0.0:
            everything = batch.all_gather(teacher)  # who is moved, and where to, is settled for the whole batch, wherever its samples are
            base = self.base(batch.all_gather(student.detach()), everything, batch.global_batch.labels)
            if int(base.sum()) > 1:
                targets = draw_targets(everything, batch.global_batch.labels, clock.generator("targets"))
                losses["student0/boundary"] = boundary * self.boundary(batch, base, targets)
        yield losses

    def base(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Which samples are to be moved, (B,) bool, given both networks' logits (B, C) and the labels (B,)."""
        right = (student.argmax(-1) == labels) & (teacher.argmax(-1) == labels)
        apart = (as_float32(teacher).softmax(-1) - as_float32(student).softmax(-1)).square().scatter(1, labels[:, None], 0.0).sum(-1)
        first = apart.masked_fill(~right, -1.0).topk(min(self.base_samples, len(labels))).indices
        return right & torch.zeros_like(right).index_fill(0, first, True)

    def boundary(self, batch: Batch, base: Tensor, targets: Tensor) -> Tensor:
        """S on the moved images; base (B,) bool and targets (B,) are of the whole batch, and so is the loss."""
        mine = batch.local(base)
        moved = self.attack(batch.inputs[mine], batch.labels[mine], batch.local(targets)[mine])

        def of_all(logits: Tensor) -> Tensor:
            return batch.all_gather(logits.new_zeros(len(batch), logits.shape[1]).index_put((mine,), logits))[base]

        return soft_cross_entropy(of_all(self.group[0](moved)), of_all(self.teacher(moved)), self.temperature)

    def attack(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """Images (n, ...) of classes `labels` (n,) on their way to where the teacher sees the classes `targets` (n,)."""
        for _ in range(self.steps):
            images = images.detach().requires_grad_()
            scores = as_float32(self.teacher.network(images))
            lead = scores.gather(1, labels[:, None]) - scores.gather(1, targets[:, None])  # (n, 1)
            still = scores.argmax(-1, keepdim=True) == labels[:, None]
            if not bool(still.any()):
                break
            (slope,) = torch.autograd.grad(lead.sum(), images)
            way = self.step_size * still * (lead.detach() + 1e-4) * unit(slope.flatten(1).to(lead.dtype))
            images = (images - way.view_as(images).to(images.dtype)).clamp(-self.clip, self.clip)
        return images.detach()


def draw_targets(teacher: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """For each sample a wrong class (B,), drawn from the probabilities of the wrong classes; the teacher's logits (B, C), labels (B,)."""
    wrong = teacher.double().scatter(1, labels[:, None], -torch.inf).softmax(-1).cumsum(-1)
    draws = torch.rand(len(labels), 1, generator=generator, dtype=torch.float64).to(wrong.device)
    return (wrong <= draws * wrong[:, -1:]).sum(-1)
