"""`studygroup study`."""

from __future__ import annotations

from typing import Any

from studygroup.options import StudyOptions
from studygroup.studies.registry import STUDIES
from studygroup.studies.run import study


def run(options: StudyOptions) -> dict[str, Any]:
    """Run a study, or list all of them."""
    if options.name == "list":
        return {"studies": [{"name": name, "title": STUDIES[name].title, "source": STUDIES[name].source} for name in STUDIES]}
    return study(options)
