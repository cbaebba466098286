"""Loss functions of labels, logits and features: pure functions of tensors."""

from studygroup.losses import targets
from studygroup.losses.contrastive import (
    MemoryBank,
    contrastive_representation,
    draw_negatives,
    noise_contrastive,
    supervised_contrast,
    unit_similarity,
)
from studygroup.losses.distillation import decoupled_kl, dist, logit_mse, standardized_kl
from studygroup.losses.features import (
    activation_boundary,
    attention_transfer,
    factor_transfer,
    flow_of_solution,
    hint,
    match_size,
    neuron_selectivity,
    variational_information,
)
from studygroup.losses.logits import cross_entropy, mixed_cross_entropy, per_sample_cross_entropy, soft_cross_entropy, soft_kl
from studygroup.losses.relations import correlation_congruence, probabilistic_transfer, relational, similarity_preserving

__all__ = [
    "MemoryBank",
    "activation_boundary",
    "attention_transfer",
    "contrastive_representation",
    "correlation_congruence",
    "cross_entropy",
    "decoupled_kl",
    "dist",
    "draw_negatives",
    "factor_transfer",
    "flow_of_solution",
    "hint",
    "logit_mse",
    "match_size",
    "mixed_cross_entropy",
    "neuron_selectivity",
    "noise_contrastive",
    "per_sample_cross_entropy",
    "probabilistic_transfer",
    "relational",
    "similarity_preserving",
    "soft_cross_entropy",
    "soft_kl",
    "standardized_kl",
    "supervised_contrast",
    "targets",
    "unit_similarity",
    "variational_information",
]
