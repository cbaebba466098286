"""Exported files as classifiers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.data import Images, Inputs, Tokens, Transform
from studygroup.data.inputs import TOKENIZER
from studygroup.data.texts.tokenizers import load_tokenizer
from studygroup.errors import UserError, one_line
from studygroup.exporting.card import hash_of
from studygroup.exporting.formats import FORMATS, Forward
from studygroup.exporting.samples import Raw
from studygroup.options import DataOptions, TableOptions
from studygroup.runs.predict import Classifier

SUFFIXES = {chosen.suffix: name for name, chosen in FORMATS.items()}
REMEDY = "export the member again"


class ExportedModel(Classifier):
    """An exported file, ONNX, exported program or TorchScript, which classifies on the CPU; for its predictions see `Classifier`.

    The file is read with its card, FILE.json, and of texts `tokenizer/` beside it. Nothing is unpickled but tensors; yet exported programs
    and TorchScript are programs, so that only those of a source that you trust should be opened.

    Attributes:
        path: of the file.
        card: content of the card.
        inputs: kind, size and preprocessing of the inputs.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file.

        Raises:
            UserError: there is no such file, it holds no graph, its card or tokenizer is missing or of another file, it is damaged, or a
                package that it needs is not installed.
        """
        self.path = Path(path).expanduser()
        format_name = format_of(self.path)
        self.card = read_card(self.path, format_name)
        try:
            self.inputs: Inputs = read_inputs(self.card, self.path.parent / TOKENIZER)
            self._classes = [str(name) for name in self.card["classes"]]
            self._table = TableOptions.from_plain(self.card.get("table", {}))
            self._normalised = bool(self.card.get("preprocessing", {}).get("normalised_in_graph"))
            self._origin = str(self.card["origin"]["data"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.path}.json is no card of an exported file ({one_line(error)}); {REMEDY}") from error
        FORMATS[format_name].require(FORMATS[format_name].runtime, str(self.path))
        try:
            self._forward: Forward = FORMATS[format_name].open(self.path, nn.Identity())
        except UserError:
            raise
        except Exception as error:  # the runtimes raise nearly anything
            raise UserError(f"{self.path} cannot be opened ({one_line(error)}); {REMEDY}") from error

    def __repr__(self) -> str:
        """Return file, network, classes and inputs."""
        return f"ExportedModel({str(self.path)!r}: {self.card['network']}, {len(self.classes)} classes, {self.inputs})"

    @property
    def classes(self) -> list[str]:
        """Names of the C classes."""
        return list(self._classes)

    def data_options(self) -> DataOptions:
        """Return the options of the training data as far as other data needs them."""
        return DataOptions.of(self._table, data=self._origin)

    def pick_device(self, name: str) -> torch.device:
        """Return the CPU.

        Raises:
            UserError: another device is asked for.
        """
        if name not in ("auto", "cpu"):
            raise UserError(f"device is {name}, but exported files run on the CPU here; leave it out, or take the run")
        return super().pick_device("cpu")

    def prepare(self, device: torch.device) -> Transform:
        """Return the transform from stored samples to the inputs of the file, which are the samples if it normalises them itself."""
        return Raw() if self._normalised else self.inputs.transform(device)

    def runner(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return the function of the file."""

        @torch.no_grad()
        def run(inputs: Tensor) -> Tensor:
            return self._forward(inputs).float()

        return run


def format_of(path: Path) -> str:
    """Return the format of a file by its name.

    Raises:
        UserError: there is no such file, or it is none that can classify.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give an exported file, or open a run folder as a run")
    if not path.is_file():
        raise UserError(f"{path} does not exist; `studygroup export` makes exported files")
    name = SUFFIXES.get(path.suffix)
    runnable = ", ".join(suffix for suffix, known in SUFFIXES.items() if FORMATS[known].has_graph)
    if name is None:
        raise UserError(f"{path} is no exported file; give one that ends in {runnable}, or a run folder")
    if not FORMATS[name].has_graph:
        raise UserError(f"{path} holds weights alone, which cannot run; give its run folder, or a file that ends in {runnable}")
    return name


def read_card(path: Path, format_name: str) -> dict[str, Any]:
    """Read the card of a file, and check that it is the file's.

    Raises:
        UserError: it is missing, damaged, or the card of another file.
    """
    card_file, _ = FORMATS[format_name].cards(path)
    try:
        card: dict[str, Any] = dict(json.loads(card_file.read_text(encoding="utf-8")))
        hash_value = hash_of(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} has no card {card_file.name} beside it; copy both, or {REMEDY}") from error
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); copy the file and its card, or {REMEDY}") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{card_file} is damaged ({one_line(error)}); copy it again, or {REMEDY}") from error
    if (card.get("format"), card.get("sha256")) != (format_name, hash_value):
        raise UserError(f"{path} is not the file that {card_file.name} describes: it is damaged, or another one; copy both, or {REMEDY}")
    return card


def read_inputs(card: Mapping[str, Any], folder: Path) -> Inputs:
    """Return the inputs that a card describes.

    Args:
        card: of the file.
        folder: of the tokenizer, if the inputs are texts.

    Raises:
        UserError: the tokenizer is missing, damaged, or of another file.
        KeyError, TypeError, ValueError: the card is incomplete.
    """
    if "tokenizer" not in card:
        prepare = card["preprocessing"]
        channels, height, width = (int(size) for size in card["input"]["shape"][1:])
        return Images((channels, height, width), tuple(map(float, prepare["mean"])), tuple(map(float, prepare["std"])))
    described = card["tokenizer"]
    tokenizer = load_tokenizer(folder)
    own = tokenizer.describe()
    if any(own.get(key) != described.get(key) for key in ("kind", "vocabulary", "hash")):
        raise UserError(f"the tokenizer in {folder} is of another file; copy the one beside the exported file, or {REMEDY}")
    return Tokens(tokenizer, int(described["max_length"]), described.get("encoding"))
