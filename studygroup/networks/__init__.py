"""Networks: chains of named blocks, by name, and what feature methods see of any network."""

from studygroup.networks.chain import Chain
from studygroup.networks.features import Features, head_of, observe, places
from studygroup.networks.factory import Maker
from studygroup.networks.registry import IMAGE_NETWORKS, NETWORKS, TEXT_NETWORKS, create, parameter_count, tokenizer_of

__all__ = [
    "IMAGE_NETWORKS",
    "NETWORKS",
    "TEXT_NETWORKS",
    "Chain",
    "Features",
    "Maker",
    "create",
    "head_of",
    "observe",
    "parameter_count",
    "places",
    "tokenizer_of",
]
