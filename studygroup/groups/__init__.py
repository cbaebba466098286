"""Groups: how students share parameters."""

from studygroup.groups.group import Group
from studygroup.groups.independent import Independent
from studygroup.groups.modular import Modular
from studygroup.groups.target import Frozen, TargetMode, peek, recalibrate_bn, target_mode

__all__ = ["Frozen", "Group", "Independent", "Modular", "TargetMode", "peek", "recalibrate_bn", "target_mode"]
