"""`studygroup predict`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from studygroup import config
from studygroup.errors import UserError
from studygroup.options import DataOptions, PredictOptions, TableOptions
from studygroup.runs.member import Run
from studygroup.runs.predict_data import predict_data, write_predictions_to


def run(options: PredictOptions) -> list[dict[str, Any]]:
    """Classify images or texts with a member of a run; return the rows, or one with a summary of the file that they are written to."""
    if options.out is None:
        return list(stream(options))
    out = Path(options.out).expanduser()
    if options.data is not None and Path(options.data).expanduser().resolve() == out.resolve():
        raise UserError(f"--out {options.out} is the data that is read; give another file")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it, or give another --out than {options.out}")
    member = Run(options.run).member(options.member)
    return [write_predictions_to(out, stream(replace(options, out=None)), member.classes)]


def stream(options: PredictOptions) -> Iterator[dict[str, Any]]:
    """Yield the rows of `run` as batches are computed."""
    if options.out is not None:
        raise UserError(f"--out {options.out} is written as CSV; leave out --format, or --out")
    opened = Run(options.run)
    member = opened.member(options.member)
    how: dict[str, Any] = {"top": options.top, "batch_size": options.batch_size, "device": options.device}
    if options.data is None:
        return member.stream(options.inputs, on_error=options.on_error, as_text=options.as_text, **how)
    trained = config.load_group(opened.files.config, TableOptions)
    return predict_data(member, options.data, DataOptions.of(options), trained, **how)
