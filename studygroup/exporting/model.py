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
from studygroup.data.texts.tokenizers import Hf, load_tokenizer
from studygroup.data.tokenizer import Tokenizer
from studygroup.errors import UserError, one_line
from studygroup.exporting.card import hash_of
from studygroup.exporting.formats import FORMATS, Forward
from studygroup.exporting.networks import float32_copy
from studygroup.exporting.samples import Raw
from studygroup.networks.external import TIMM
from studygroup.networks.factory import build_network
from studygroup.networks.hugging_face import CONFIG
from studygroup.networks.registry import HUGGING_FACE
from studygroup.options import DataOptions, TableOptions
from studygroup.regular import read_regular_text
from studygroup.runs.predict import Classifier, check_shape

SUFFIXES = {chosen.suffix: name for name, chosen in FORMATS.items()}
FOLDER = "huggingface"
REMEDY = "export the member again"


class ExportedModel(Classifier):
    """An exported file, or a folder for transformers, which classifies on the CPU; for its predictions see `Classifier`.

    A file is read with its card, FILE.json, and of texts `tokenizer/` beside it; a folder has all of them in it. Nothing is unpickled but
    tensors, and the network of weights alone is made from its name only if it is one of this library's or timm's: a card imports nothing.
    Yet exported programs and TorchScript are programs, so that only those of a source that you trust should be opened.

    Attributes:
        path: of the file.
        card: content of the card.
        inputs: kind, size and preprocessing of the inputs.

    Example:
        >>> import studygroup as sg
        >>> _ = sg.Run("runs/digits").best.export("safetensors", out="opened.safetensors")
        >>> model = sg.ExportedModel("opened.safetensors")
        >>> model.predict_proba("digit.png").shape
        (1, 10)
    """

    def __init__(self, path: str | Path, *, network: nn.Module | None = None) -> None:
        """Open a file.

        Args:
            path: of the file or folder.
            network: for weights alone (safetensors) of a network that cannot be made from its name; it is copied.

        Raises:
            UserError: there is no such file, its card or tokenizer is missing or of another file, it is damaged, its network cannot be
                made, or a package that it needs is not installed.
        """
        self.path = Path(path).expanduser()
        format_name = format_of(self.path)
        chosen = FORMATS[format_name]
        card_file, _ = chosen.cards(self.path)
        if network is not None and not chosen.needs_network:
            raise UserError(f"a network is given, but {self.path} has its own; leave it out")
        if not isinstance(network, nn.Module | None):
            raise UserError(f"network is a {type(network).__name__}; give a torch.nn.Module of the right shape")
        self.card = read_card(self.path, format_name)
        try:
            self.inputs: Inputs = read_inputs(self.card, self.path)
            self._classes = [str(name) for name in self.card["classes"]]
            self._table = TableOptions.from_plain(self.card.get("table", {}))
            self._normalised = bool(self.card.get("preprocessing", {}).get("normalised_in_graph"))
            self._origin = str(self.card["origin"]["data"])
            self._name = str(self.card["network"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{card_file} is no card of an exported file ({one_line(error)}); {REMEDY}") from error
        chosen.require(chosen.runtime, str(self.path))
        try:
            if chosen.needs_network:
                network = self._make_network() if network is None else float32_copy(network)
            self._forward: Forward = chosen.open(self.path, network or nn.Identity())
        except UserError:
            raise
        except Exception as error:  # the runtimes raise nearly anything
            raise UserError(f"{self.path} cannot be opened ({one_line(error)}); {REMEDY}") from error

    def _make_network(self) -> nn.Module:
        """Make the network that the card names.

        Raises:
            UserError: it is of another package: nothing is imported because a card says so.
        """
        if ":" in self._name and not self._name.startswith(TIMM):
            remedy = "give it from Python, `ExportedModel(FILE, network=...)`, or give the run folder"
            if self._name.startswith(HUGGING_FACE):
                remedy = "export the member with --format huggingface, or give the run folder"
            raise UserError(f"{self.path} holds weights alone, of the network {self._name}, which is not imported for a file; {remedy}")
        spec = self.inputs.spec()
        return build_network(self._name, num_classes=len(self.classes), in_channels=spec.in_channels, vocabulary=spec.vocabulary)

    def __repr__(self) -> str:
        """Return file, network, classes and inputs."""
        return f"ExportedModel({str(self.path)!r}: {self._name}, {len(self.classes)} classes, {self.inputs})"

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
        """Return the function of the file.

        It raises UserError if the file fails on inputs, or does not return a row of logits for each.
        """

        @torch.no_grad()
        def run(inputs: Tensor) -> Tensor:
            try:
                logits = self._forward(inputs).float()
            except Exception as error:  # as above
                shape = "x".join(map(str, inputs.shape))
                raise UserError(f"{self.path} fails on inputs of {shape} ({one_line(error)}); {REMEDY}") from error
            check_shape(logits, len(inputs), len(self.classes))
            return logits

        return run


def is_exported(path: str | Path) -> bool:
    """Return whether a path is taken for an exported file, not for a run folder: a file, or a folder for transformers."""
    path = Path(path).expanduser()
    if path.is_dir():
        return any(file.is_file() for file in (path / CONFIG, FORMATS[FOLDER].cards(path)[0]))
    return path.is_file() or path.suffix in SUFFIXES


def format_of(path: Path) -> str:
    """Return the format of a file by its name.

    Raises:
        UserError: there is no such file, or it is none of an export.
    """
    if path.is_dir():
        if is_exported(path):
            return FOLDER
        raise UserError(f"{path} is a folder; give an exported file, or open a run folder as a run")
    if not path.is_file():
        raise UserError(f"{path} does not exist; `studygroup export` makes exported files")
    name = SUFFIXES.get(path.suffix)
    if name is None or name == FOLDER:
        files = ", ".join(suffix for suffix, known in SUFFIXES.items() if known != FOLDER)
        raise UserError(f"{path} is no exported file; give one that ends in {files}, or a run folder")
    return name


def read_card(path: Path, format_name: str) -> dict[str, Any]:
    """Read the card of a file, and check that it is the file's.

    Raises:
        UserError: it is missing, damaged, or the card of another file.
    """
    card_file, _ = FORMATS[format_name].cards(path)
    try:
        card: dict[str, Any] = dict(json.loads(read_regular_text(card_file)))
        hash_value = hash_of(FORMATS[format_name].weights(path))
    except FileNotFoundError as error:
        if card_file.is_file():
            raise UserError(f"{error.filename} does not exist; copy the whole folder, or {REMEDY}") from error
        raise UserError(f"{path} has no card {card_file.name}, which `studygroup export` writes with it; copy both, or {REMEDY}") from error
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); copy the file and its card, or {REMEDY}") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{card_file} is damaged ({one_line(error)}); copy it again, or {REMEDY}") from error
    if (card.get("format"), card.get("sha256")) != (format_name, hash_value):
        raise UserError(f"{path} is not the file that {card_file.name} describes: it is damaged, or another one; copy both, or {REMEDY}")
    return card


def read_inputs(card: Mapping[str, Any], path: Path) -> Inputs:
    """Return the inputs that a card describes.

    Args:
        card: of the file.
        path: of the file.

    Raises:
        UserError: the tokenizer is missing, damaged, or of another file.
        KeyError, TypeError, ValueError: the card is incomplete.
    """
    if "tokenizer" not in card:
        prepare = card["preprocessing"]
        channels, height, width = (int(size) for size in card["input"]["shape"][1:])
        return Images((channels, height, width), tuple(map(float, prepare["mean"])), tuple(map(float, prepare["std"])))
    described = card["tokenizer"]
    folder, keys = (path, ("kind", "vocabulary", "pad")) if path.is_dir() else (path.parent / TOKENIZER, ("kind", "vocabulary", "hash"))
    tokenizer: Tokenizer = Hf.read(path) if path.is_dir() else load_tokenizer(folder)
    own = tokenizer.describe()
    if any(own.get(key) != described.get(key) for key in keys):
        raise UserError(f"the tokenizer in {folder} is of another file; copy the one beside the exported file, or {REMEDY}")
    return Tokens(tokenizer, int(described["max_length"]), described.get("encoding"))
