"""`studygroup predict`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from studygroup.options import PredictOptions
from studygroup.runs.member import Run


def run(options: PredictOptions) -> list[dict[str, Any]]:
    """Classify images or texts with a member of a run."""
    return list(stream(options))


def stream(options: PredictOptions) -> Iterator[dict[str, Any]]:
    """Yield the rows of `run` as batches are computed."""
    member = Run(options.run).member(options.member)
    return member.stream(options.inputs, top=options.top, batch_size=options.batch_size, on_error=options.on_error, device=options.device)
