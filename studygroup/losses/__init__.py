"""Pure tensor functions: what one network is asked to learn from another, and from the labels."""

from studygroup.losses.ensembles import (
    error_covariance,
    general_ensemble,
    linear_ensemble,
    mean_ensemble,
    minlogit_ensemble,
    naive_ensemble,
)
from studygroup.losses.logits import cross_entropy, mixed_cross_entropy, per_sample_cross_entropy, soft_cross_entropy, soft_kl

__all__ = [
    "cross_entropy",
    "error_covariance",
    "general_ensemble",
    "linear_ensemble",
    "mean_ensemble",
    "minlogit_ensemble",
    "mixed_cross_entropy",
    "naive_ensemble",
    "per_sample_cross_entropy",
    "soft_cross_entropy",
    "soft_kl",
]
