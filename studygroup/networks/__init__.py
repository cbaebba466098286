"""Networks: chains of named blocks, by name."""

from studygroup.networks.chain import Chain
from studygroup.networks.maker import Maker
from studygroup.networks.registry import NETWORKS, create, parameter_count

__all__ = ["NETWORKS", "Chain", "Maker", "create", "parameter_count"]
