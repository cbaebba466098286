"""`studygroup export`."""

from __future__ import annotations

from typing import Any

from studygroup.exporting.write import export_member
from studygroup.options import ExportOptions
from studygroup.runs.member import Run


def run(options: ExportOptions) -> dict[str, Any]:
    """Export a member of a run as a checked file."""
    return export_member(Run(options.run, options.allow_code).member(options.member), options)
