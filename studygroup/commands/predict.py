"""`studygroup predict`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studygroup.commands.classifier import open_classifier
from studygroup.errors import UserError
from studygroup.options import DataOptions, PredictOptions
from studygroup.runs.predict import Classifier
from studygroup.runs.predict_data import predict_data, write_predictions_to


def run(options: PredictOptions) -> list[dict[str, Any]]:
    """Classify images or texts with a member of a run or an exported file.

    Returns:
        The rows, or one with a summary of the file that they are written to.
    """
    if options.out is None:
        return list(stream(options))
    out = Path(options.out).expanduser()
    if isinstance(options.data, str | Path) and Path(options.data).expanduser().resolve() == out.resolve():
        raise UserError(f"--out {options.out} is the data that is read; give another file")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it, or give another --out than {options.out}")
    classifier = open_classifier(options.run, options.member, options.allow_code)
    return [write_predictions_to(out, rows_of(classifier, options), classifier.classes)]


def stream(options: PredictOptions) -> Iterator[dict[str, Any]]:
    """Yield the rows of `run` as batches are computed."""
    if options.out is not None:
        raise UserError(f"--out {options.out} is written as CSV; leave out --format, or --out")
    return rows_of(open_classifier(options.run, options.member, options.allow_code), options)


def rows_of(classifier: Classifier, options: PredictOptions) -> Iterator[dict[str, Any]]:
    """Yield the rows of a classifier."""
    how: dict[str, Any] = {"top": options.top, "batch_size": options.batch_size, "device": options.device}
    if options.data is None:
        if options.encoding is not None:
            classifier.inputs = classifier.inputs.with_encoding(options.encoding)
        return classifier.stream(options.inputs, on_error=options.on_error, as_text=options.as_text, **how)
    return predict_data(classifier, options.data, DataOptions.of(options), **how)
