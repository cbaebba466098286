"""Ensembles of several networks' logits that each of them is to imitate (KDCL; Guo et al., CVPR 2020).

Shapes: m networks, B samples, C classes. Logits are (m, B, C), in float32 or better inside; an ensemble is (B, C). Gradient is the
caller's business: KDCL detaches the logits before.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from studygroup.losses.logits import full

HALVINGS = 24  # of a step's length: 2^-24 is what float32 resolves


def mean_ensemble(logits: Tensor, labels: Tensor) -> Tensor:
    """The networks' mean logits. Args: logits: (m, B, C). labels: (B,), not looked at. Returns: (B, C)."""
    return full(logits).mean(0)


def naive_ensemble(logits: Tensor, labels: Tensor) -> Tensor:
    """For each sample the logits of the network with the smallest cross-entropy on it; ties go to the lower number (KDCL-Naive).

    Args:
        logits: (m, B, C).
        labels: (B,) class indices.

    Returns:
        (B, C).
    """
    logits = full(logits)
    errors = F.cross_entropy(logits.movedim(-1, 1), labels.expand(len(logits), -1), reduction="none")  # (m, B)
    # Not argmin, which does not promise which of equals it finds.
    first = torch.sort(errors, dim=0, stable=True).indices[0]
    return logits[first, torch.arange(len(labels), device=labels.device)]


def minlogit_ensemble(logits: Tensor, labels: Tensor) -> Tensor:
    """For each class the smallest distance to the true class's logit among the networks: min over i of z_i,c - z_i,y (KDCL-MinLogit).

    Its cross-entropy is at most that of the best network on each sample.

    Args:
        logits: (m, B, C).
        labels: (B,) class indices.

    Returns:
        (B, C), 0 at the true class.
    """
    return margins(logits, labels).amin(0)


def linear_ensemble(logits: Tensor, labels: Tensor) -> Tensor:
    """For each sample the convex combination of the networks' logits with the smallest cross-entropy (KDCL-Linear).

    The problem is convex. Weight is moved from the network where it costs most to the one where it costs least, by the best amount
    (found by halving), which is exact for two networks; 8 m such moves are made for m > 2.

    Args:
        logits: (m, B, C).
        labels: (B,) class indices.

    Returns:
        (B, C), up to a constant per sample: 0 at the true class.
    """
    distances = margins(logits, labels)
    count, samples, _ = distances.shape
    rows = torch.arange(samples, device=labels.device)
    weights = distances.new_full((count, samples), 1 / count)
    mixed = distances.mean(0)
    for _ in range(8 * count if count > 2 else count - 1):
        costs = (distances * mixed.softmax(-1)).sum(-1)  # (m, B): derivatives by the weights
        gains, loses = costs.argmin(0), costs.masked_fill(weights <= 0, -torch.inf).argmax(0)
        direction = distances[gains, rows] - distances[loses, rows]  # (B, C)
        available = weights[loses, rows]
        step = _best_step(mixed, direction, available)
        weights[gains, rows] += step
        weights[loses, rows] -= step
        mixed = mixed + step[:, None] * direction
    return mixed


def general_ensemble(logits: Tensor, labels: Tensor, covariance: Tensor) -> Tensor:
    """The combination of the networks, one for all samples, with the least squared error (KDCL-General).

    Weights are the row sums of the inverse covariance, divided by their total; they may be negative. A part in 10^6 of the mean
    variance is added to the diagonal, so that networks that err alike share a weight.

    Args:
        logits: (m, B, C).
        labels: (B,), not looked at.
        covariance: (m, m), of errors on other samples, as `error_covariance`.

    Returns:
        (B, C).
    """
    logits = full(logits)
    spread = covariance.double()
    one = torch.ones(len(spread), dtype=spread.dtype, device=spread.device)
    ridge = (1e-6 * spread.diagonal().mean()).clamp_min(1e-12)
    sums = torch.linalg.solve(spread + torch.diag(ridge * one), one)
    weights: Tensor = (sums / sums.sum()).to(logits.dtype)
    return (weights[:, None, None] * logits).sum(0)


def error_covariance(logits: Tensor, labels: Tensor) -> Tensor:
    """How the networks' errors go together: mean over the samples of <p_i - y, p_j - y>, with y one-hot.

    Args:
        logits: (m, B, C).
        labels: (B,) class indices.

    Returns:
        (m, m), symmetric and positive semidefinite.
    """
    errors = full(logits).softmax(-1) - F.one_hot(labels, logits.shape[-1])
    return (errors[:, None] * errors).sum(-1).mean(-1)  # no matrix product: autocast would do it in half precision


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """z_i,c - z_i,y: logits relative to the true class's. Args: logits: (m, B, C). labels: (B,). Returns: (m, B, C)."""
    logits = full(logits)
    return logits - logits.gather(-1, labels.expand(len(logits), -1).unsqueeze(-1))


def _best_step(mixed: Tensor, direction: Tensor, most: Tensor) -> Tensor:
    """The step (B,) in [0, most] along `direction` (B, C) from `mixed` (B, C) with the smallest log-sum-exp."""

    def falling(step: Tensor) -> Tensor:
        return ((mixed + step[:, None] * direction).softmax(-1) * direction).sum(-1) < 0

    low, high = torch.zeros_like(most), most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        still = falling(middle)
        low, high = torch.where(still, middle, low), torch.where(still, high, middle)
    return torch.where(falling(most), most, low)
