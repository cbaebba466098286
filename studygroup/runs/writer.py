"""Write members and predictions into a run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from studygroup.runs.files import write_atomically, write_json
from studygroup.runs.layout import RunFiles


def write_member(files: RunFiles, name: str, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write a plain network's weights and its card."""
    write_weights(files.weights(name), weights)
    write_json(files.card(name), {"name": name, **card})


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
