"""Groups: how students share parameters."""

from studygroup.groups.average import average, pull_together
from studygroup.groups.branched import Branched, pooled
from studygroup.groups.group import Group, batched_call
from studygroup.groups.independent import Independent
from studygroup.groups.modular import Modular
from studygroup.groups.target import Frozen, TargetMode, predict_targets, recalibrate_bn, target_mode

__all__ = [
    "Branched",
    "Frozen",
    "Group",
    "Independent",
    "Modular",
    "TargetMode",
    "average",
    "batched_call",
    "pooled",
    "predict_targets",
    "pull_together",
    "recalibrate_bn",
    "target_mode",
]
