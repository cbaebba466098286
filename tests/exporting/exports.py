"""Exports of the tests' runs, each made once."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import studygroup
from studygroup.exporting.formats import FORMATS, Format, Forward, Graph
from studygroup.networks import NETWORKS
from studygroup.networks.chain import Chain
from studygroup.networks.layers import TokenEmbedding
from studygroup.networks.vdcnn import ConvolutionLayer, KMaxPool, Stem
from studygroup.runs.member import Run

SMALL: dict[str, Any] = {"preset": "none", "batch_size": 32, "progress": False, "precision": "float32", "holdout": 48}
WORDS = {"sea": ["wave", "ship", "fish", "salt", "tide"], "wood": ["tree", "leaf", "deer", "moss", "path"]}
TRANSFORMER = "transformer@depth=1,heads=2,hidden=16,embedding=16,feedforward=32"
VDCNN = "small_vdcnn"
MODULE = """\
from torch import nn

class TextNetwork(nn.Module):
    def __init__(self, num_classes, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16, padding_idx=0)
        self.classifier = nn.Linear(16, num_classes)

    def forward(self, ids):
        return self.classifier(self.embedding(ids).sum(1))

class Network(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, num_classes))

class Stubborn(Network):
    def forward(self, x):
        return super().forward(x if x.sum().item() > 0 else x + 0.5)

class Untraceable(Network):
    def forward(self, x):
        import torch
        if torch.jit.is_tracing():
            raise RuntimeError("this network has\\nno trace")
        return super().forward(x)

class Squeezed(Network):
    def forward(self, x):
        return super().forward(x).squeeze()

class Unlike(Network):
    def forward(self, x):
        import torch
        return super().forward(x) + torch.compiler.is_exporting()
"""


def small_vdcnn(*, num_classes: int, vocabulary: int) -> Chain:
    """Make a network with each operation of `vdcnn9` once, whose exports take less time; the slow tests export all networks."""
    return Chain(
        {
            "embedding": {"embedding": TokenEmbedding(vocabulary, 8)},
            "stem": {"stem": Stem(8, 8)},
            "stage1": {"stage1_block1": ConvolutionLayer(8, 16, halve=True)},
            "head": {"pool": KMaxPool(8), "classifier": nn.Linear(8 * 16, num_classes)},
        }
    )


done: dict[tuple[object, ...], dict[str, Any]] = {}


def export(run: Run, cache: Path, **options: Any) -> dict[str, Any]:
    """Export a member of a run, unless a test before has.

    TorchScript warns. An int8 file is made of the float32 file that a test before has exported, or this function does.
    """
    options.setdefault("format", "onnx")
    key = (run.folder, *sorted(options.items()))
    if key in done:
        return done[key]
    with pytest.MonkeyPatch.context() as patch:
        if options.get("int8"):
            float32 = export(run, cache, **{name: value for name, value in options.items() if name != "int8"})["path"]
            patch.setitem(FORMATS, "onnx", copies(float32))
        if options.get("with_preprocessing"):
            (run.folder / "pixels").mkdir(exist_ok=True)
            options["out"] = run.folder / "pixels"
        if options["format"] == "torchscript":
            with pytest.warns(UserWarning, match="TorchScript deprecated; take --format pt2 or onnx"):
                done[key] = studygroup.export(run.folder, cache=cache, **options)
        else:
            done[key] = studygroup.export(run.folder, cache=cache, **options)
    return done[key]


def copies(float32: str) -> Format:
    """Return ONNX with an exporter that copies a file instead."""

    def write(graph: Graph, path: Path) -> None:
        shutil.copy(float32, path)

    return replace(FORMATS["onnx"], write=write)


def open_file(name: str, path: str | Path, network: nn.Module | None = None) -> Forward:
    """Return the function of an exported file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        return FORMATS[name].open(Path(path), network or nn.Identity())


def register_networks(patch: pytest.MonkeyPatch) -> None:
    """Register `small_vdcnn` as if a package of the user had done so."""
    patch.setitem(NETWORKS.built_in, "small_vdcnn", f"{__name__}:small_vdcnn")


def copied(card: dict[str, Any], folder: Path) -> Path:
    """Copy an exported file, its cards and its tokenizer; return the path of the file."""
    path = Path(card["path"])
    folder.mkdir(exist_ok=True)
    if path.is_dir():
        return Path(shutil.copytree(path, folder / path.name))
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder)
    if (path.parent / "tokenizer").is_dir():
        shutil.copytree(path.parent / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    return folder / path.name


def card_of(path: Path) -> Path:
    """Return the path of the card of a file or folder."""
    return path / "studygroup.json" if path.is_dir() else path.with_name(f"{path.name}.json")


def describe(path: Path, **values: object) -> None:
    """Change the card of a file or folder."""
    card = card_of(path)
    card.write_text(json.dumps({**json.loads(card.read_text()), **values}))


def weights_of(path: Path) -> Path:
    """Return the file with the weights: a file itself, or that in a folder."""
    return path / "model.safetensors" if path.is_dir() else path


def pixels(count: int, seed: int = 0) -> Any:
    """Random grey images of other sizes than the network's."""
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 9, 1), dtype=np.uint8)
