"""Targets that join the logits of several networks.

Those of KDCL (Guo et al., CVPR 2020) take the logits (m, B, C) of m networks and the labels (B,), and return target logits (B, C) without
gradient, in float32 or float64: the paper's four constructions, and `mean`, which its best-known reimplementation uses. `mix_softened` is
the mean of probabilities.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.errors import UserError
from studygroup.losses.numerics import full_precision


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 3 or labels.shape != logits.shape[1:2]:
        raise UserError(f"logits are {tuple(logits.shape)}, labels {tuple(labels.shape)}; they must be (m, B, C) and (B,)")


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits minus that of the true class: (m, B, C), zero at the label."""
    return logits - logits.gather(-1, labels[None, :, None].expand(len(logits), -1, 1))


@torch.no_grad()
@full_precision
def mean(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of the networks' logits; labels are not used.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[[2.0, 0.0]], [[4.0, 2.0]]])  # of two networks, for one sample
        >>> losses.targets.mean(logits, torch.tensor([0]))
        tensor([[3., 1.]])
    """
    _check(logits, labels)
    return logits.mean(0)


@torch.no_grad()
@full_precision
def naive(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each sample the logits of the network with the smallest cross-entropy; among equals, of the first.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[[2.0, 0.0]], [[5.0, 1.0]]])
        >>> losses.targets.naive(logits, torch.tensor([0]))  # of the second, which is surer of class 0
        tensor([[5., 1.]])
    """
    _check(logits, labels)
    errors = _margins(logits, labels).logsumexp(-1)  # (m, B)
    return logits[errors.argmin(0), torch.arange(logits.shape[1], device=logits.device)]


@torch.no_grad()
@full_precision
def minlogit(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each sample and class the minimum over networks of z_c - z_y; zero at the label.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[[2.0, 0.0, 1.0]], [[3.0, 2.0, 0.0]]])
        >>> losses.targets.minlogit(logits, torch.tensor([0]))
        tensor([[ 0., -2., -3.]])
    """
    _check(logits, labels)
    return _margins(logits, labels).amin(0)


@torch.no_grad()
@full_precision
def linear(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each sample the convex combination of the networks' logits with the smallest cross-entropy.

    min over w >= 0, sum w = 1 of CE(sum_i w_i z_i, y), separately for each sample, as in the paper. Among several minima (networks that
    agree), the weights are as even as possible. The cross-entropy is within 1e-6 of the minimum for logits up to about 50, and within
    a thousandth of their size beyond.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])
        >>> losses.targets.linear(logits, torch.tensor([0])).round()  # the first network alone
        tensor([[2., 0.]])
    """
    _check(logits, labels)
    weights = _best_weights(_margins(logits, labels).movedim(0, 1).double())  # (B, m)
    return torch.einsum("bm,mbc->bc", weights.to(logits.dtype), logits)


@full_precision
def mix_softened(logits: Tensor, weights: Tensor, temperature: float = 1.0) -> Tensor:
    """Return logits z (B, C) with softmax(z / T) = sum over i of w_i softmax(z_i / T).

    Args:
        logits: (m, B, C) of m networks.
        weights: (m,), at least 0, with sum 1.
        temperature: T.

    Raises:
        UserError: there are not as many weights as networks.

    Example:
        >>> import torch
        >>> from studygroup.losses.targets import mix_softened
        >>> sure, even = torch.tensor([[9.0, -9.0]]), torch.tensor([[0.0, 0.0]])
        >>> mix_softened(torch.stack([sure, even]), torch.tensor([0.5, 0.5])).softmax(-1)
        tensor([[0.7500, 0.2500]])
    """
    if weights.shape != logits.shape[:1]:
        raise UserError(f"weights are {tuple(weights.shape)}, but there are {len(logits)} networks; they must be (m,)")
    return temperature * ((logits / temperature).log_softmax(-1) + weights.log()[:, None, None]).logsumexp(0)


def _best_weights(margins: Tensor) -> Tensor:
    """Minimise logsumexp(w . margins) over the simplex by Newton's method with a decreasing logarithmic barrier.

    Args:
        margins: (B, m, C) float64.

    Returns:
        Weights (B, m), positive, with sum 1.
    """
    count = margins.shape[1]
    steps = torch.tensor([0.0, *(2.0**-k for k in range(8))], dtype=margins.dtype, device=margins.device)

    def objective(weights: Tensor, barrier: float) -> Tensor:
        """Args: weights: (steps, B, m). Returns: (steps, B)."""
        return torch.einsum("sbm,bmc->sbc", weights, margins).logsumexp(-1) - barrier * weights.log().sum(-1)

    weights = margins.new_full(margins.shape[:2], 1 / count)
    for barrier in (10.0**-k for k in range(9)):
        for _ in range(3):
            predicted = torch.einsum("bm,bmc->bc", weights, margins).softmax(-1)
            scaled = weights[..., None] * margins  # the unknowns are relative changes of the weights
            gradient = torch.einsum("bmc,bc->bm", scaled, predicted)
            hessian = torch.einsum("bmc,bc,bnc->bmn", scaled, predicted, scaled) - gradient[:, :, None] * gradient[:, None]
            hessian = hessian + barrier * torch.eye(count, dtype=margins.dtype, device=margins.device)
            newton, correction = torch.linalg.solve(hessian, torch.stack([barrier - gradient, weights], -1)).unbind(-1)
            # Keep the sum of the weights at 1.
            change = newton - correction * ((weights * newton).sum(-1) / (weights * correction).sum(-1))[:, None]
            longest = (0.99 / (-change).amax(-1).clamp_min(0.99)).clamp_max(1.0)  # keeps 1 + change positive
            candidates = weights * (1 + steps[:, None, None] * (longest[:, None] * change))
            best = objective(candidates, barrier).argmin(0)
            weights = candidates[best, torch.arange(len(best), device=best.device)]
    return weights / weights.sum(-1, keepdim=True)


@torch.no_grad()
@full_precision
def error_covariance(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the covariance (m, m) of the networks' errors: mean over samples of (p_i - y) . (p_j - y), p softmax, y one-hot.

    Average those of several batches weighted by their sizes. KDCL estimates it on held-out images.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[[9.0, -9.0]], [[0.0, 0.0]]])  # the first is right, the second does not know
        >>> losses.targets.error_covariance(logits, torch.tensor([0])).round(decimals=3)
        tensor([[0.0000, 0.0000],
                [0.0000, 0.5000]])
    """
    _check(logits, labels)
    errors = logits.softmax(-1) - F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    return torch.einsum("ibc,jbc->ij", errors, errors) / logits.shape[1]


@torch.no_grad()
@full_precision
def general(logits: Tensor, labels: Tensor, covariance: Tensor) -> Tensor:
    """Return the combination of logits with the least expected error: weights w = C^-1 1 / (1^T C^-1 1) for all samples.

    Perrone and Cooper's general ensemble method (1993). Weights sum to 1 and may be negative. A millionth of the mean of C's diagonal is
    added to the diagonal, so that networks with equal errors get equal weights.

    Args:
        logits: (m, B, C).
        labels: (B,), not used.
        covariance: (m, m) of `error_covariance`, from held-out samples.

    Raises:
        UserError: the covariance is of another number of networks.

    Example:
        >>> import torch
        >>> from studygroup import losses
        >>> logits = torch.tensor([[[2.0, 0.0]], [[4.0, 2.0]]])
        >>> losses.targets.general(logits, torch.tensor([0]), torch.eye(2))  # equal errors, so equal weights
        tensor([[3., 1.]])
    """
    _check(logits, labels)
    if covariance.shape != (len(logits), len(logits)):
        raise UserError(f"the covariance is {tuple(covariance.shape)}, but there are {len(logits)} networks; it must be m x m")
    matrix = covariance.double()
    ridge = (1e-6 * matrix.diagonal().mean()).clamp_min(1e-12)
    weights = torch.linalg.solve(
        matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device), matrix.new_ones(len(matrix))
    )
    return torch.einsum("m,mbc->bc", (weights / weights.sum()).to(logits.dtype), logits)
