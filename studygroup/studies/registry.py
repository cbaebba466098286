"""The studies by name."""

from __future__ import annotations

from studygroup.registry import Registry
from studygroup.studies.study import Study

CGL = [f"cgl-{kind}" for kind in ("table2", "table3", "table4", "table5", "table6", "table7", "figure3", "figure4", "figure5", "figure6")]
ORC = [f"orc-table{number}" for number in range(1, 8)]
STUDIES: Registry[Study] = Registry(
    "study", {name: f"studygroup.studies.{name.replace('-', '_')}:STUDY" for name in (*CGL, *ORC, "regime")}
)
