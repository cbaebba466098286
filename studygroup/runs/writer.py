"""Write members and predictions into a run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from studygroup.networks.hugging_face import CONFIG, SequenceClassifier
from studygroup.runs.files import write_atomically, write_json
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import CONFIG_FOLDER


def write_member(files: RunFiles, name: str, network: nn.Module, card: Mapping[str, Any]) -> None:
    """Write a plain network's weights and its card, and what a Hugging Face model is made again from."""
    write_weights(files.weights(name), network.state_dict())
    card = {"name": name, **card}
    if isinstance(network, SequenceClassifier):
        folder = files.hugging_face(name)
        write_atomically(folder / CONFIG, network.config_json().encode())
        card[CONFIG_FOLDER] = folder.relative_to(files.folder).as_posix()
    write_json(files.card(name), card)


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors."""
    write_atomically(path, safetensors.torch.save({key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}))


def write_predictions(path: Path, rows: Iterable[tuple[int, str, str, float]]) -> None:
    """Write predictions as CSV: index in the test set, label, predicted label and its probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "label", "predicted", "probability"])
    writer.writerows((sample, label, predicted, f"{probability:.6f}") for sample, label, predicted, probability in rows)
    write_atomically(path, text.getvalue().encode())
