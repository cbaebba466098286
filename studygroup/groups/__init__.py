"""Groups: how students share parameters."""

from studygroup.groups.branched import Branched, pooled
from studygroup.groups.group import Group, together
from studygroup.groups.independent import Independent
from studygroup.groups.modular import Modular
from studygroup.groups.target import Frozen, TargetMode, peek, recalibrate_bn, target_mode

__all__ = [
    "Branched",
    "Frozen",
    "Group",
    "Independent",
    "Modular",
    "TargetMode",
    "peek",
    "pooled",
    "recalibrate_bn",
    "target_mode",
    "together",
]
