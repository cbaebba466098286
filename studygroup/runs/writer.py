"""Write members and predictions into a run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from torch import Tensor, nn

from studygroup.atomic import write_atomically
from studygroup.escape import csv_cell
from studygroup.networks.hugging_face import CONFIG, SequenceClassifier
from studygroup.runs.evaluation import Outcomes
from studygroup.runs.files import write_json
from studygroup.runs.layout import FORMAT, RunFiles
from studygroup.runs.member import CONFIG_FOLDER, DIGEST, file_digest


def write_member(files: RunFiles, name: str, network: nn.Module, card: Mapping[str, Any]) -> None:
    """Write a plain network's weights and its card, and what a Hugging Face model is made again from."""
    write_weights(files.weights(name), network.state_dict())
    card = {"name": name, "format": FORMAT, DIGEST: file_digest(files.weights(name)), **card}
    if isinstance(network, SequenceClassifier):
        folder = files.hugging_face(name)
        write_atomically(folder / CONFIG, network.config_json().encode())
        card[CONFIG_FOLDER] = folder.relative_to(files.folder).as_posix()
    write_json(files.card(name), card)


def write_module(files: RunFiles, name: str, module: nn.Module) -> str:
    """Write the weights of a module that a later stage starts from, and return the digest of the file."""
    write_weights(files.module(name), module.state_dict())
    return file_digest(files.module(name))


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors."""
    write_atomically(path, safetensors.torch.save({key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}))


def write_predictions(path: Path, outcomes: Outcomes, names: Sequence[str], classes: Sequence[str]) -> None:
    """Write predictions as CSV, one row per sample of the test set, in its order.

    The columns: `sample` (position in the test set, from 0), `name` (file or row, see `Split.sample_names`), `label` (the true class),
    `predicted`, `probability` (of the predicted class) and `label_probability` (of the true class).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "name", "label", "predicted", "probability", "label_probability"])
    known = [csv_cell(name) for name in classes]
    columns = (outcomes.labels, outcomes.predicted, outcomes.probability, np.exp(outcomes.log_likelihood))
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    for sample, (name, label, predicted, probability, label_probability) in enumerate(rows):
        writer.writerow([sample, csv_cell(name), known[label], known[predicted], f"{probability:.6f}", f"{label_probability:.6f}"])
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def write_member_predictions(
    path: Path, predicted: Mapping[str, NDArray[np.int64]], labels: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Write the predicted class of every member for each sample of the test set as CSV: `sample`, `label`, and a column per member."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "label", *predicted])
    known = [csv_cell(name) for name in classes]
    for sample, row in enumerate(zip(*(column.tolist() for column in (labels, *predicted.values())), strict=True)):
        writer.writerow([sample, *(known[c] for c in row)])
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))
