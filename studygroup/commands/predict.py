"""`studygroup predict`."""

from __future__ import annotations

from typing import Any

from studygroup.options import PredictOptions
from studygroup.runs.member import Run


def run(options: PredictOptions) -> list[dict[str, Any]]:
    """Classify images or texts with a member of a run."""
    member = Run(options.run).member(options.member)
    return member.predict(options.inputs, top=options.top, batch_size=options.batch_size, on_error=options.on_error, device=options.device)
