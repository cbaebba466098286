"""Losses on feature maps of a student and a teacher.

Maps are (B, C, H, W), or (B, C, L) for sequences; P is the number of positions, H * W or L. If the two maps of a pair differ in size,
the larger is average-pooled to the smaller. Reductions and constants are those of the CRD benchmark's code (Tian et al., ICLR 2020,
arXiv:1910.10699), which published comparisons use. All losses are scalars, computed in float32 or float64; gradient flows to the
teacher, too, unless it is detached.

Maps of texts are padded to a common length. With a `mask` (B, P), False at padding, a mean over positions is first over those of each
text, then over texts, without padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses.numerics import full_precision, unit


def match_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Bring two maps (B, C1, ...) and (B, C2, ...) to one size: along each dimension, the larger is average-pooled to the smaller.

    Raises:
        UserError: the maps do not have the same samples and dimensions.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> one, other = losses.match_size(torch.zeros(2, 16, 8, 8), torch.zeros(2, 64, 4, 4))
        >>> one.shape, other.shape
        (torch.Size([2, 16, 4, 4]), torch.Size([2, 64, 4, 4]))
    """
    if one.ndim not in (3, 4) or one.ndim != other.ndim or len(one) != len(other):
        raise UserError(
            f"the maps are {tuple(one.shape)} and {tuple(other.shape)}; both must be (B, C, H, W) or both (B, C, L), of the same samples"
        )
    size = [min(pair) for pair in zip(one.shape[2:], other.shape[2:], strict=True)]
    return _pooled(one, size), _pooled(other, size)


def _pooled(maps: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.adaptive_avg_pool1d(maps, size[0]) if len(size) == 1 else F.adaptive_avg_pool2d(maps, (size[0], size[1]))


def _same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise UserError(
            f"the student's is {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}; use a regressor that makes them equal"
        )


def _same_number(student: Sequence[Tensor], teacher: Sequence[Tensor], least: int) -> None:
    if len(student) != len(teacher) or len(student) < least:
        raise UserError(f"{len(student)} maps of the student, {len(teacher)} of the teacher; give as many of each, at least {least}")


def _mean(errors: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of errors (B, C, ...); for texts, first over the positions of each (0 if it is empty), then over texts."""
    if mask is None:
        return errors.mean()
    per_position = errors.flatten(2).mean(1)  # (B, P)
    return ((per_position * mask).sum(1) / mask.sum(1).clamp_min(1)).mean()


@full_precision
def hint(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute FitNet's hint loss (Romero et al., ICLR 2015, arXiv:1412.6550, Eq. 3): mean of (s - t)^2 over all values.

    The paper has half the sum per sample; this is the benchmark's mean.

    Args:
        student: (B, ...), after the regressor.
        teacher: the same shape.
        mask: (B, P) bool, False at padding; None if there is none.

    Raises:
        UserError: the shapes differ.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> losses.hint(torch.zeros(2, 16, 8, 8), torch.ones(2, 16, 8, 8))
        tensor(1.)
    """
    _same_shape(student, teacher)
    return _mean((student - teacher).square(), mask)


def _attention(maps: Tensor) -> Tensor:
    """Return the attention of maps: the mean over channels of their squares, as unit vectors (B, P)."""
    return unit(maps.square().mean(1).flatten(1))


@full_precision
def attention_transfer(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928, Eq. 2): mean over (B, P) of (a_s - a_t)^2.

    a = v / |v|, v the mean over channels of the squared map, as a vector over positions. The paper has the norm of the
    difference; its code and the benchmark have the mean of squares.

    Args:
        student: a map (B, C_s, ...), zero at padding.
        teacher: a map (B, C_t, ...), zero at padding.
        mask: (B, P) bool, False at padding; None if there is none.

    Raises:
        UserError: the maps do not have the same samples and dimensions.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> maps = torch.rand(2, 16, 8, 8)
        >>> losses.attention_transfer(maps, torch.cat([maps, maps], 1)).item() < 1e-9  # more channels, the same attention
        True
    """
    student, teacher = match_size(student, teacher)
    return _mean((_attention(student) - _attention(teacher)).square().unsqueeze(1), mask)


@full_precision
def factor_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute factor transfer (Kim et al., NeurIPS 2018, arXiv:1802.04977): mean over (B, P) of |a_s - a_t|, p = 1.

    The paper compares the normalised factors; this is the benchmark's comparison of their attention vectors a (see
    `attention_transfer`), in which the numbers of channels may differ.

    Args:
        student: the translator's factor (B, C_s, ...).
        teacher: the paraphraser's factor (B, C_t, ...).

    Raises:
        UserError: the maps do not have the same samples and dimensions.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> maps = torch.rand(2, 16, 8, 8)
        >>> losses.factor_transfer(maps, 3 * maps).item() < 1e-6
        True
    """
    student, teacher = match_size(student, teacher)
    return F.l1_loss(_attention(student), _attention(teacher))


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean over the batch and pairs of channels of (x . y)^2; channels are vectors (B, C, P)."""
    return (one @ other.mT).square().mean()


@full_precision
def neuron_selectivity(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute neuron selectivity transfer (Huang and Wang, 2017, arXiv:1707.01219): the squared MMD between sets of channels.

        mean k(s, s') - 2 mean k(s, t) + mean k(t, t'),  k(x, y) = (x . y)^2

    Channels are unit vectors over positions; means are over the batch and over pairs of channels. The last term is a constant
    if the teacher is detached; with it, the loss is at least 0. Padding, where both maps are zero, has no influence.

    Args:
        student: a map (B, C_s, ...).
        teacher: a map (B, C_t, ...).

    Raises:
        UserError: the maps do not have the same samples and dimensions.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> maps = torch.rand(2, 16, 8, 8)
        >>> abs(losses.neuron_selectivity(maps, maps.flip(1)).item()) < 1e-6  # a set of channels has no order
        True
    """
    student, teacher = (unit(maps.flatten(2)) for maps in match_size(student, teacher))  # (B, C, P)
    return _kernel(student, student) - 2 * _kernel(student, teacher) + _kernel(teacher, teacher)


def _flow(below: Tensor, above: Tensor, mask: Tensor | None) -> Tensor:
    """Return the products of the channels of two maps, averaged over positions: (B, C_above, C_below)."""
    below, above = (maps.flatten(2) for maps in match_size(below, above))
    positions = below.shape[-1] if mask is None else mask.sum(1).clamp_min(1)[:, None, None]
    return above @ below.mT / positions


@full_precision
def flow_of_solution(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Compute the flow of solution procedure (Yim et al., CVPR 2017, Eq. 1 and 2), summed over consecutive pairs of maps.

        G(F1, F2)[i, j] = mean over positions of F1_i F2_j,  loss = sum over pairs of the mean over (B, i, j) of (G_s - G_t)^2

    Within a network the larger map of a pair is pooled to the smaller; the two networks may differ in size.

    Args:
        student_maps: two or more maps (B, C_k, ...), in the order of the layers.
        teacher_maps: as many, with the same numbers of channels.
        mask: (B, P) bool, False at padding, where all maps are zero; None if there is none.

    Raises:
        UserError: the numbers of maps, channels or samples differ.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> maps = [torch.ones(2, 4, 8, 8), torch.ones(2, 8, 4, 4)]
        >>> losses.flow_of_solution(maps, [2 * m for m in maps])  # products are 1 and 4
        tensor(9.)
    """
    _same_number(student_maps, teacher_maps, 2)
    channels = [[tuple(maps.shape[:2]) for maps in network] for network in (student_maps, teacher_maps)]
    if channels[0] != channels[1]:
        raise UserError(
            f"the student's maps have (samples, channels) {channels[0]}, the teacher's {channels[1]}; they must be equal, "
            "so use networks of the same widths"
        )
    flows = [[_flow(*pair, mask) for pair in itertools.pairwise(network)] for network in (student_maps, teacher_maps)]
    return torch.stack([F.mse_loss(s, t) for s, t in zip(*flows, strict=True)]).sum()


@full_precision
def activation_boundary(
    student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], margin: float = 1.0, masks: Sequence[Tensor | None] | None = None
) -> Tensor:
    """Compute the loss on activation boundaries (Heo et al., AAAI 2019, arXiv:1811.03233), i.e. on the sign of each neuron.

        l_i  = sum over all values of relu(margin + s)^2 where t <= 0, of relu(margin - s)^2 where t > 0
        loss = 3 / 1000 / B * sum over maps i = 0 .. n-1 of 2^(i - n + 1) l_i

    The factors are those of the authors' code. The loss is zero if every s has the teacher's sign and exceeds the margin; the teacher's
    own values need not.

    Args:
        student_maps: n maps before their activation, after the connector.
        teacher_maps: n maps before their activation, of the same shapes.
        margin: of the hinge, the paper's mu.
        masks: for each map (B, P) bool, False at padding, which the sum leaves out; None if there is none.

    Raises:
        UserError: the numbers or shapes of the maps differ.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> teacher = [torch.tensor([[[[1.0, -1.0]]]])]
        >>> losses.activation_boundary([2 * teacher[0]], teacher)  # the same signs, beyond the margin
        tensor(0.)
        >>> losses.activation_boundary([-2 * teacher[0]], teacher)
        tensor(0.0540)
    """
    _same_number(student_maps, teacher_maps, 1)
    losses = []
    for number, (student, teacher, mask) in enumerate(zip(student_maps, teacher_maps, masks or [None] * len(student_maps), strict=True)):
        _same_shape(student, teacher)
        wrong_way = torch.where(teacher > 0, -student, student)
        errors = F.relu(margin + wrong_way).square()
        counted = errors if mask is None else errors.flatten(2) * mask.unsqueeze(1)
        losses.append(2.0 ** (number - len(student_maps) + 1) * counted.sum())
    return torch.stack(losses).sum() * (3 / 1000) / len(student_maps[0])


@full_precision
def variational_information(mean: Tensor, log_scale: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute variational information distillation (Ahn et al., CVPR 2019, arXiv:1904.05835): a Gaussian's negative log-likelihood.

        mean over all values of 1/2 ((mu - t)^2 / v + log v),  v = log(1 + exp(log_scale)) + 1e-5, one per channel

    The constant log(2 pi) / 2 is left out, as in the authors' code. That code pools a student's larger map before the regressor:
    call `match_size` there; here a larger mean is pooled.

    Args:
        mean: prediction (B, C, ...) of the teacher's map from the student's.
        log_scale: (C,), trainable.
        target: the teacher's map (B, C, ...).
        mask: (B, P) bool, False at padding; None if there is none.

    Raises:
        UserError: the numbers of channels differ.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> target = torch.zeros(2, 4, 8, 8)
        >>> near, far = (losses.variational_information(target + error, torch.zeros(4), target) for error in (0.1, 1.0))
        >>> bool(near < far)
        True
    """
    mean, target = match_size(mean, target)
    if mean.shape != target.shape or log_scale.shape != mean.shape[1:2]:
        raise UserError(
            f"the mean has {mean.shape[1]} channels, the target {target.shape[1]}, log_scale is {tuple(log_scale.shape)}; "
            "all must have the teacher's channels"
        )
    variance = (F.softplus(log_scale) + 1e-5).view(-1, *[1] * (mean.ndim - 2))
    return 0.5 * _mean((mean - target).square() / variance + variance.log(), mask)
