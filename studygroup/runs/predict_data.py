"""Predictions for the rows of a table, or for the files in a folder, and the file that they are written to."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from studygroup.data.archives import is_archive
from studygroup.data.images.decode import find_images
from studygroup.data.inputs import Images
from studygroup.data.texts.columns import refuse_columns
from studygroup.data.texts.frames import is_frame
from studygroup.data.texts.table import SUFFIXES, table_suffix
from studygroup.data.texts.unlabelled import read_table
from studygroup.errors import UserError
from studygroup.escape import csv_cell
from studygroup.options import DataOptions
from studygroup.runs.predict import Classifier

KEYS = ("row", "path", "text")
"""Keys of a prediction that name its sample, the one for a file of predictions first."""


def predict_data(
    classifier: Classifier, data: object, options: DataOptions, *, top: int, batch_size: int, device: str
) -> Iterator[dict[str, Any]]:
    """Classify the rows of a table, or the files in a folder, as batches are computed.

    Args:
        classifier: a trained network.
        data: table of texts or DataFrame, with labels or without; or folder of images or of `.txt` files, perhaps in folders of classes.
        options: how a table is read, and what to do about unreadable samples; columns and encoding are those of the training where none are
            given.
        top: number of classes per sample.
        batch_size: number of samples at a time.
        device: to compute on.

    Yields:
        Rows of `Classifier.stream`, with `row` (from 1, without a header) and `text`, or `path`; and with `true`, the name of the class, if
        the data has classes (empty where it is missing).

    Raises:
        UserError: the data cannot be read, or is not of the network's kind.
    """
    how: dict[str, Any] = {"top": top, "batch_size": batch_size, "device": device}
    if is_frame(data):
        return classifier.stream_table(classifier.read_frame(data, options), **how)
    if not isinstance(data, str | Path):
        raise UserError(
            f"data is a {type(data).__name__}; give a DataFrame, the path of a table or a folder, or a list of texts or images as inputs"
        )
    path, images = Path(data).expanduser(), isinstance(classifier.inputs, Images)
    wanted = "a folder of images" if images else f"a table ({', '.join(SUFFIXES)}) or a folder of .txt files"
    if not path.exists():
        raise UserError(f"{data} does not exist; give {wanted}")
    if path.is_dir():
        refuse_columns(options, str(data))
        return _predict_files(classifier, path, options, how)
    if images or table_suffix(path) is None:
        what = "an archive; unpack it, and" if is_archive(path) else f"a file, and this run classifies {classifier.inputs.noun}s;"
        raise UserError(f"{data} is {what} give {wanted}")
    return classifier.stream_table(read_table(path, options, classifier.data_options()), **how)


def _predict_files(classifier: Classifier, folder: Path, options: DataOptions, how: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if options.encoding is not None:
        classifier.inputs = classifier.inputs.with_encoding(options.encoding)
    paths = find_images(folder) if isinstance(classifier.inputs, Images) else list(classifier.inputs.iterate_samples(folder))
    known = set(classifier.classes)
    true = {str(path): next((part for part in Path(str(path)).relative_to(folder).parts[-2::-1] if part in known), "") for path in paths}
    labelled = any(true.values())
    found = classifier.stream(paths, on_error=options.on_error, **how)
    return ({**prediction, **({"true": true[prediction["path"]]} if labelled else {})} for prediction in _with_paths(found))


def _with_paths(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rename the key of texts that were read from files."""
    for row in rows:
        yield row if "path" in row else {"path": row.pop("text"), **row}


def write_predictions_to(out: str | Path, rows: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Write predictions as CSV, row by row.

    The columns are the sample (`row`, `path` or `text`), `label` (the true one, if there is one), `predicted` and `probability`.
    The file is complete or not there: it is written under another name, and then renamed.

    Args:
        out: file to write.
        rows: of `predict_data`, or of `Classifier.stream`.
        classes: names of the known classes.

    Returns:
        `out`, the number of `samples`; with true labels also `labelled` (samples with one), `unknown` (whose label is no known class) and
        `accuracy` over the labelled ones, None if there are none.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(out).expanduser().absolute()
    if path.is_dir():
        raise UserError(f"{out} is a folder; give a file such as {Path(out) / 'predictions.csv'}")
    part = path.with_name(f".{path.name}.part")
    known = set(classes)
    counts = dict.fromkeys(("samples", "labelled", "unknown", "right"), 0)
    labelled = False
    try:
        try:
            with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                for row in rows:
                    key = next(key for key in KEYS if key in row)
                    if not counts["samples"]:
                        labelled = "true" in row
                        writer.writerow([key, *(["label"] if labelled else []), "predicted", "probability"])
                    counts["samples"] += 1
                    true = row.get("true", "")
                    counts["labelled"] += bool(true)
                    counts["unknown"] += bool(true) and true not in known
                    counts["right"] += true == row["label"]
                    cells = (str(row[key]), *([true] if labelled else []), row["label"])
                    writer.writerow([*map(csv_cell, cells), f"{row['probability']:.6f}"])
                if not counts["samples"]:
                    raise UserError("there is nothing to classify: the data has no rows; nothing is written")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}; give another --out") from error
    right, total = counts.pop("right"), counts["labelled"]
    accuracy = {"labelled": total, "unknown": counts["unknown"], "accuracy": right / total if total else None} if labelled else {}
    return {"out": str(out), "samples": counts["samples"], **accuracy}
