"""Networks: chains of named blocks, by name, and what feature methods see of any network."""

from studygroup.networks.chain import Chain
from studygroup.networks.factory import NetworkFactory
from studygroup.networks.features import Features, extract_features, feature_layers, head_of
from studygroup.networks.registry import IMAGE_NETWORKS, NETWORKS, TEXT_NETWORKS, create, parameter_count, tokenizer_of

__all__ = [
    "IMAGE_NETWORKS",
    "NETWORKS",
    "TEXT_NETWORKS",
    "Chain",
    "Features",
    "NetworkFactory",
    "create",
    "extract_features",
    "feature_layers",
    "head_of",
    "parameter_count",
    "tokenizer_of",
]
