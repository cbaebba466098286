"""Pure tensor functions: what one network is asked to learn from another, and from the labels."""

from studygroup.losses.logits import cross_entropy, mixed_cross_entropy, per_sample_cross_entropy, soft_kl

__all__ = ["cross_entropy", "mixed_cross_entropy", "per_sample_cross_entropy", "soft_kl"]
