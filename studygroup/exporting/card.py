"""The cards beside an exported file: JSON for programs, Markdown for people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from studygroup.data import Images, Tokens
from studygroup.data.texts.tokenizers import Chars
from studygroup.errors import UserError
from studygroup.escape import markdown_cell
from studygroup.exporting.check import Check
from studygroup.exporting.formats import FORMATS, INPUT, OUTPUT
from studygroup.options import ExportOptions, TableOptions
from studygroup.regular import open_regular
from studygroup.runs.member import BEST, Member, Run

PACKAGES = ("studygroup", "torch", "onnx", "onnxscript", "onnxruntime", "pillow", "sentencepiece")
ORIGIN = ("data", "method", "seed", "member", "epoch")
TEMPLATE = """\
---
{front}
---

# {network} of {data}

## Model description

{network} with {parameters} parameters, trained with studygroup by the method {method}.
It classifies {kind}s into {count} classes: {classes}.

## How to use

{file} {use}.
{card} says how {kind}s become inputs; docs/deploy.md of studygroup has complete programs.

## Results

Precision {precision}. On {samples} samples ({source}), labels agree on {agreement} with the float32 network's, and the largest
difference of logits is {difference} of the largest logit.

{rows}

Accuracy in training: hold-out {holdout}, test {test}.

## Training

{origin}. Versions: {versions}.
"""


def make_card(member: Member, options: ExportOptions, file: Path, check: Check) -> dict[str, Any]:
    """Return the card of an exported file, in JSON's types."""
    return {
        "file": file.name,
        "sha256": hash_of(FORMATS[options.format].weights(file)),
        "format": options.format,
        "precision": "int8" if options.int8 else "float32",
        "network": member.card["network"],
        "parameters": sum(parameter.numel() for parameter in member.network.parameters()),
        "classes": member.classes,
        "input": describe_input(member, options),
        "output": {"name": OUTPUT, "shape": ["batch", len(member.classes)], "dtype": "float32"},
        **describe_preparation(member, options),
        "origin": {"run": str(member.folder) if member.folder else None, **{key: member.card.get(key) for key in ORIGIN}},
        "holdout": member.card.get("holdout"),
        "test": test_accuracy(member),
        "check": asdict(check),
        "versions": versions(),
    }


def hash_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with open_regular(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def test_accuracy(member: Member) -> float | None:
    """Return the accuracy on the test set, in [0, 1], in the result of the member's run; None if there is none."""
    if member.folder is None:
        return None
    result = Run(member.folder).result
    found: float | None = result["selected"]["test"] if member.name == BEST else result["last"]["test"].get(member.name)
    return found


def describe_table(member: Member) -> dict[str, object]:
    """Return the options with which the training texts were read; the defaults if they are not known."""
    try:
        return TableOptions.of(member.data_options()).plain()
    except UserError:
        return TableOptions().plain()


def describe_input(member: Member, options: ExportOptions) -> dict[str, object]:
    """Return name, shape and type of the inputs; dimensions that vary have names."""
    if isinstance(member.inputs, Images):
        return {
            "name": INPUT,
            "shape": ["batch", *member.inputs.shape],
            "dtype": "uint8" if options.with_preprocessing else "float32",
        }
    return {"name": INPUT, "shape": ["batch", "length"], "dtype": "int64"}


def describe_preparation(member: Member, options: ExportOptions) -> dict[str, object]:
    """Return how samples become inputs: `preprocessing` of images; `tokenizer` of texts, and how tables of them were read."""
    if isinstance(member.inputs, Images):
        return {
            "preprocessing": {
                "orientation": "EXIF",
                "transparency": "white",
                "mode": "L" if member.inputs.shape[0] == 1 else "RGB",
                "crop": "centre, with the proportions of the input",
                "size": list(member.inputs.shape[1:]),
                "interpolation": "bicubic",
                "antialias": True,
                "scale": 1 / 255,
                "mean": list(member.inputs.mean),
                "std": list(member.inputs.std),
                "normalised_in_graph": options.with_preprocessing,
            }
        }
    assert isinstance(member.inputs, Tokens)
    tokenizer = member.inputs.tokenizer
    symbols = {"unknown": Chars.UNKNOWN, "space": Chars.SPACE, "first_symbol": 3, "symbols": Chars.SYMBOLS}
    return {
        "tokenizer": {
            **tokenizer.describe(),
            "pad": tokenizer.pad,
            "max_length": member.inputs.max_length,
            **({"encoding": member.inputs.encoding} if member.inputs.encoding is not None else {}),
            **(symbols if isinstance(tokenizer, Chars) else {}),
        },
        "table": describe_table(member),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that took part, as far as they are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_card(card: Mapping[str, Any], kind: str) -> str:
    """Return a model card in the layout of the Hugging Face Hub.

    Args:
        card: the JSON card.
        kind: `image` or `text`.
    """
    chosen = FORMATS[card["format"]]
    check, origin = card["check"], card["origin"]
    front = {
        "library_name": chosen.library,
        "pipeline_tag": f"{kind}-classification",
        "tags": [f"{kind}-classification", "knowledge-distillation", card["format"], str(origin["method"])],
    }
    rows = ["| | accuracy | bytes | ms per sample, batch 1 | batch 64 |", "|---|---|---|---|---|"]
    for name, score in (("network in PyTorch, float32", check["network"]), ("this file", check["file"])):
        times = " | ".join(f"{1000 * score['seconds'][size]:.3f}" for size in ("1", "64"))
        rows.append(f"| {name} | {percent(score['accuracy'])} | {score['bytes']:,} | {times} |")
    trained = {key: value for key, value in origin.items() if key != "run" and value is not None}
    shape, count = " x ".join(map(str, card["input"]["shape"])), len(card["classes"])
    weights = "is a folder that transformers opens" if chosen.is_folder else "holds the weights of the network"
    graph = f"takes {INPUT} ({shape}, {card['input']['dtype']}) and returns logits (batch x {count})"
    use = graph if chosen.has_graph else weights
    values = {
        "front": yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        "network": card["network"],
        "parameters": f"{card['parameters']:,}",
        "data": origin["data"],
        "method": origin["method"],
        "kind": kind,
        "count": count,
        "classes": ", ".join(map(str, card["classes"][:20])) + (", ..." if count > 20 else ""),
        "file": card["file"],
        "card": chosen.cards(Path(card["file"]))[0].name,
        "use": use,
        "precision": card["precision"],
        "samples": check["samples"],
        "source": check["origin"],
        "agreement": percent(check["agreement"]),
        "difference": f"{check['difference']:.1e}",
        "rows": "\n".join(rows),
        "holdout": percent(card["holdout"]),
        "test": percent(card["test"]),
        "origin": ", ".join(f"{key} {value}" for key, value in trained.items()),
        "versions": ", ".join(f"{name} {number}" for name, number in card["versions"].items()),
    }
    plain = ("front", "rows")  # YAML, and a table without names
    return TEMPLATE.format(**{name: value if name in plain else markdown_cell(str(value)) for name, value in values.items()})


def percent(fraction: float | None) -> str:
    """Format a fraction; a dash if there is none."""
    return "–" if fraction is None else f"{100 * fraction:.2f}%"
